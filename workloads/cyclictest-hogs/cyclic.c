/*
 * rt-tests' cyclictest beside CPU hogs: its samples, and what the hogs got done.
 *
 *   cyclic CPUS SAMPLES
 *
 * Two threads a CPU wake every 4 ms as ordinary tasks (SCHED_OTHER): real-time classes are above
 * the one that is scheduled here, and no policy is asked about them. With -v cyclictest prints
 * every latency, "thread: cycle: microseconds", so percentiles are of samples, not of a histogram.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>

#include "hogs.h"
#include "percentile.h"

#define HOGS_PER_CPU 2
#define THREADS_PER_CPU 2
#define INTERVAL_US "4000"
#define MAX_SAMPLES 200000

static FILE *cyclictest(unsigned int threads, const char *samples, pid_t *pid)
{
	char count[16];
	int pipes[2];

	snprintf(count, sizeof(count), "%u", threads);
	if (pipe2(pipes, O_CLOEXEC))
		die("connect cyclictest");
	*pid = fork();
	if (*pid < 0)
		die("start cyclictest");
	if (!*pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(pipes[1], 1) < 0)
			die("hear cyclictest");
		execlp("cyclictest", "cyclictest", "-v", "--policy=other", "-i", INTERVAL_US, "-d",
		       "0", "-t", count, "-l", samples, NULL);
		die("run cyclictest");
	}
	close(pipes[1]);
	return fdopen(pipes[0], "r");
}

int main(int argc, char **argv)
{
	static uint64_t waits[MAX_SAMPLES];
	struct hogs hogs;
	unsigned long before, after;
	unsigned int cpus, thread, cycle;
	size_t samples = 0;
	uint64_t began;
	double seconds;
	char line[256];
	int status = 0;
	FILE *said;
	pid_t pid;
	long wait;

	if (argc != 3) {
		fprintf(stderr, "usage: cyclic CPUS SAMPLES\n");
		return 2;
	}
	cpus = (unsigned int)read_number(argv[1], "CPUS", 1, 256);
	read_number(argv[2], "SAMPLES", 10, MAX_SAMPLES / 512);
	hogs_start(&hogs, cpus * HOGS_PER_CPU);
	sleep_until(now_ns() + 300 * NS_PER_MS);
	before = hogs_work(&hogs);
	began = now_ns();
	said = cyclictest(cpus * THREADS_PER_CPU, argv[2], &pid);
	while (said && samples < MAX_SAMPLES && fgets(line, sizeof(line), said))
		if (sscanf(line, " %u: %u: %ld", &thread, &cycle, &wait) == 3 && wait >= 0)
			waits[samples++] = (uint64_t)wait;
	if (waitpid(pid, &status, 0) != pid)
		die("cyclictest is gone");
	after = hogs_work(&hogs);
	seconds = (double)(now_ns() - began) / NS_PER_S;
	hogs_stop(&hogs);
	errno = 0;
	if (status || samples < 100)
		die("cyclictest ended with status %#x after %zu samples", (unsigned int)status,
		    samples);
	sort_samples(waits, samples);
	printf("{\"metrics\": {\"latency_p50_us\": %.1f, \"latency_p99_us\": %.1f, "
	       "\"latency_p999_us\": %.1f, \"latency_max_us\": %.1f, "
	       "\"hog_work_per_s\": %.1f}}\n",
	       (double)percentile(waits, samples, 500), (double)percentile(waits, samples, 990),
	       (double)percentile(waits, samples, 999), (double)waits[samples - 1],
	       (double)(after - before) / seconds);
	return 0;
}
