/*
 * The shortest load that a scheduler can do better or worse: hogs on every CPU, and the neighbour
 * that wakes every 5 ms beside them.
 *
 *     pulse CPUS MILLISECONDS
 */
#include <stdio.h>

#include "beside.h"

#define HOGS_PER_CPU 2
#define MAX_HOGS 512
#define STEPS 20000 /* of one chunk of work */

static struct shared {
	atomic_ulong chunks[MAX_HOGS];
} *shared;

static void hog(unsigned int number)
{
	volatile uint64_t value = number;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (unsigned int step = 0; step < STEPS; step++)
			value = value * 6364136223846793005ULL + 1442695040888963407ULL;
		atomic_fetch_add(&shared->chunks[number], 1);
	}
}

static unsigned long work_done(unsigned int hogs)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < hogs; i++)
		sum += atomic_load(&shared->chunks[i]);
	return sum;
}

int main(int argc, char **argv)
{
	struct beside beside;
	pid_t pids[MAX_HOGS];
	unsigned int hogs;
	unsigned long before, after;
	uint64_t ms, began, *waits, sum = 0;
	size_t count;
	double seconds;

	if (argc != 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
		fprintf(stderr, "usage: pulse CPUS MILLISECONDS\n");
		return 2;
	}
	hogs = (unsigned int)atoi(argv[1]) * HOGS_PER_CPU;
	if (hogs > MAX_HOGS)
		hogs = MAX_HOGS;
	ms = (uint64_t)atoi(argv[2]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("memory for the hogs' counts");
	use_exact_timers();
	beside_start(&beside);
	for (unsigned int i = 0; i < hogs; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die("start a hog");
		if (!pids[i])
			hog(i);
	}
	sleep_until(now_ns() + ms / 4 * NS_PER_MS);
	before = work_done(hogs);
	began = now_ns();
	beside_begin(&beside);
	sleep_until(began + ms * NS_PER_MS);
	after = work_done(hogs);
	seconds = (double)(now_ns() - began) / NS_PER_S;
	beside_stop(&beside);
	for (unsigned int i = 0; i < hogs; i++)
		if (kill(pids[i], SIGKILL) || waitpid(pids[i], NULL, 0) != pids[i])
			die("a hog is gone");
	count = beside_waits(&beside, &waits);
	for (size_t i = 0; i < count; i++)
		sum += waits[i];
	printf("{\"metrics\": {\"wait_mean_us\": %.1f, \"wait_p99_us\": %.1f, "
	       "\"hog_work_per_s\": %.1f}}\n",
	       (double)sum / (double)count / NS_PER_US,
	       (double)percentile(waits, count, 990) / NS_PER_US,
	       (double)(after - before) / seconds);
	return 0;
}
