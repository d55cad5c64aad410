/*
 * Times one command, with the neighbour beside it.
 *
 *   timed TIME_METRIC [PER_HOUR_METRIC] -- COMMAND...
 *
 * The command's own output is thrown away; it must exit with 0, or there is no number.
 */
#define _GNU_SOURCE
#include <fcntl.h>

#include "beside.h"

int main(int argc, char **argv)
{
	struct beside beside;
	uint64_t start_ns, took_ns, *waits;
	size_t samples;
	int dash = 1, status = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;

	while (dash < argc && strcmp(argv[dash], "--"))
		dash++;
	if (dash < 2 || dash > 3 || dash + 1 >= argc) {
		fprintf(stderr, "usage: timed TIME_METRIC [PER_HOUR_METRIC] -- COMMAND...\n");
		return 2;
	}
	beside_start(&beside);
	sleep_until(now_ns() + 200 * NS_PER_MS);

	beside_begin(&beside);
	start_ns = now_ns();
	pid = fork();
	if (pid < 0)
		die("start the command");
	if (!pid) {
		if (dup2(null, 1) < 0)
			die("open /dev/null");
		execvp(argv[dash + 1], argv + dash + 1);
		die("run %s", argv[dash + 1]);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("wait for the command");
	took_ns = now_ns() - start_ns;
	beside_stop(&beside);
	errno = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("%s failed with wait status %#x", argv[dash + 1], (unsigned int)status);
	samples = beside_waits(&beside, &waits);

	printf("{\"metrics\": {\"%s\": %.4f, ", argv[1], (double)took_ns / 1e9);
	if (dash == 3)
		printf("\"%s\": %.3f, ", argv[2], 3600e9 / (double)took_ns);
	printf("\"victim_wait_p50_us\": %.1f, \"victim_wait_p99_us\": %.1f}}\n",
	       (double)percentile(waits, samples, 500) / 1e3,
	       (double)percentile(waits, samples, 990) / 1e3);
	return 0;
}
