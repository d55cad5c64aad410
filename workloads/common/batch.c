/*
 * A batch with a long tail: many short jobs and one long one of the same kind, released together.
 *
 *   batch SEED SHORT_JOBS DIRECTORY COMMAND...
 *
 * Every job runs the very same COMMAND with its input on stdin, so that nothing but behaviour
 * tells the long one: DIRECTORY/short.in or DIRECTORY/long.in. The long job's position in the
 * launch order is uniform over all positions and decided by SEED alone. What a job writes is
 * compared with DIRECTORY/short.out or long.out when all are done: a batch with a single wrong
 * or failed job has no number.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "beside.h"
#include "random.h"

struct job {
	pid_t pid;
	int output;
	uint64_t done_ns;
};

struct expected {
	char *bytes;
	size_t size;
};

static int open_in(const char *directory, const char *name)
{
	char path[4096];
	int file;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		die("the path of %s is too long", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		die("open %s", path);
	return file;
}

static struct expected map_file(int file)
{
	struct expected expected;
	struct stat status;

	if (fstat(file, &status))
		die("read a job's output");
	expected.size = (size_t)status.st_size;
	expected.bytes = expected.size ?
				 mmap(NULL, expected.size, PROT_READ, MAP_PRIVATE, file, 0) :
				 NULL;
	if (expected.bytes == MAP_FAILED)
		die("read a job's output");
	return expected;
}

/* Forks a job that waits for the gate to open, then becomes COMMAND. */
static void prepare(struct job *job, const char *directory, bool is_long, const int gate[2],
		    char **command)
{
	int input = open_in(directory, is_long ? "long.in" : "short.in");
	char byte;

	job->output = memfd_create("output", MFD_CLOEXEC);
	if (job->output < 0)
		die("memory for a job's output");
	job->pid = fork();
	if (job->pid < 0)
		die("start a job");
	if (job->pid) {
		close(input);
		return;
	}
	close(gate[1]);
	if (dup2(input, 0) < 0 || dup2(job->output, 1) < 0 || read(gate[0], &byte, 1) != 0)
		die("prepare a job");
	execvp(command[0], command);
	die("run %s", command[0]);
}

static void check(struct job *job, struct expected expected, size_t position)
{
	struct expected got = map_file(job->output);

	if (got.size != expected.size || (got.size && memcmp(got.bytes, expected.bytes, got.size))) {
		errno = 0;
		die("the job at position %zu did wrong work: its output differs from what the "
		    "same command wrote at set-up",
		    position);
	}
	if (got.bytes)
		munmap(got.bytes, got.size);
}

int main(int argc, char **argv)
{
	struct beside beside;
	struct expected short_output, long_output;
	struct job *jobs;
	size_t shorts, count, position, samples, finished = 0;
	uint64_t seed, released_ns, sum_ns = 0, last_ns = 0;
	uint64_t *waits, *short_ns;
	int gate[2];

	if (argc < 5) {
		fprintf(stderr, "usage: batch SEED SHORT_JOBS DIRECTORY COMMAND...\n");
		return 2;
	}
	seed = read_number(argv[1], "SEED", 0, UINT64_MAX);
	shorts = read_number(argv[2], "SHORT_JOBS", 1, 1000);
	count = shorts + 1;
	position = random_below(&seed, count);
	fprintf(stderr, "long job at position %zu of %zu\n", position, count);

	short_output = map_file(open_in(argv[3], "short.out"));
	long_output = map_file(open_in(argv[3], "long.out"));
	jobs = calloc(count, sizeof(*jobs));
	short_ns = calloc(shorts, sizeof(*short_ns));
	beside_start(&beside); /* before the gate is there: it must not hold it open */
	if (!jobs || !short_ns || pipe2(gate, O_CLOEXEC))
		die("prepare the batch");
	for (size_t i = 0; i < count; i++)
		prepare(&jobs[i], argv[3], i == position, gate, argv + 4);
	sleep_until(now_ns() + 200 * NS_PER_MS); /* all jobs have reached the gate */

	beside_begin(&beside);
	released_ns = now_ns();
	close(gate[1]);
	while (finished < count) {
		int status;
		pid_t pid = wait(&status);

		for (size_t i = 0; i < count; i++) {
			if (jobs[i].pid != pid)
				continue;
			errno = 0;
			if (!WIFEXITED(status) || WEXITSTATUS(status))
				die("the job at position %zu failed with wait status %#x", i,
				    (unsigned int)status);
			jobs[i].done_ns = last_ns = now_ns() - released_ns;
			finished++;
		}
		if (pid < 0 || pid == beside.pid)
			die("a process of the batch is gone");
	}
	beside_stop(&beside);

	for (size_t i = 0, k = 0; i < count; i++) {
		check(&jobs[i], i == position ? long_output : short_output, i);
		if (i == position)
			continue;
		short_ns[k++] = jobs[i].done_ns;
		sum_ns += jobs[i].done_ns;
	}
	sort_samples(short_ns, shorts);
	samples = beside_waits(&beside, &waits);
	printf("{\"metrics\": {\"makespan_s\": %.4f, \"long_s\": %.4f, \"short_mean_s\": %.4f, "
	       "\"short_p50_s\": %.4f, \"short_p95_s\": %.4f, \"victim_wait_p50_us\": %.1f, "
	       "\"victim_wait_p99_us\": %.1f}}\n",
	       (double)last_ns / 1e9, (double)jobs[position].done_ns / 1e9,
	       (double)sum_ns / 1e9 / (double)shorts, (double)percentile(short_ns, shorts, 500) / 1e9,
	       (double)percentile(short_ns, shorts, 950) / 1e9,
	       (double)percentile(waits, samples, 500) / 1e3,
	       (double)percentile(waits, samples, 990) / 1e3);
	return 0;
}
