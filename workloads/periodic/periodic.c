/*
 * Periodic threads beside CPU hogs, in the manner of rt-tests' cyclictest.
 *
 *   periodic CPUS MILLISECONDS
 *
 * Two threads a CPU wake at absolute times 4 ms apart, and note how late. They are ordinary tasks.
 * cyclictest itself will not start without the right to real-time classes, whatever class it is
 * told to use, and no workload has that right here.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "hogs.h"
#include "percentile.h"

#define HOGS_PER_CPU 2
#define THREADS_PER_CPU 2
#define MAX_THREADS 512
#define INTERVAL_NS (4 * NS_PER_MS)

static struct thread {
	pthread_t id;
	uint64_t first_ns, *waits;
	size_t count, capacity;
} threads[MAX_THREADS];

static uint64_t end_ns;

static void *wake_periodically(void *which)
{
	struct thread *thread = which;
	uint64_t mark = thread->first_ns;

	prctl(PR_SET_NAME, "periodic", 0, 0, 0);
	use_exact_timers();
	while (mark < end_ns && thread->count < thread->capacity) {
		uint64_t woke;

		sleep_until(mark);
		woke = now_ns();
		thread->waits[thread->count++] = woke - mark;
		/* A mark that passed while it waited is lost: one late wake-up is one sample. */
		mark += INTERVAL_NS;
		if (woke > mark)
			mark += (woke - mark) / INTERVAL_NS * INTERVAL_NS + INTERVAL_NS;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct hogs hogs;
	unsigned long before, after;
	unsigned int cpus, count;
	size_t samples = 0, capacity;
	uint64_t ms, began, *all;
	double seconds;

	if (argc != 3) {
		fprintf(stderr, "usage: periodic CPUS MILLISECONDS\n");
		return 2;
	}
	cpus = (unsigned int)read_number(argv[1], "CPUS", 1, MAX_THREADS / THREADS_PER_CPU);
	ms = read_number(argv[2], "MILLISECONDS", 100, 600000);
	count = cpus * THREADS_PER_CPU;
	capacity = ms * NS_PER_MS / INTERVAL_NS + 2;
	all = calloc(count * capacity, sizeof(*all));
	if (!all)
		die("memory for the samples");
	hogs_start(&hogs, cpus * HOGS_PER_CPU);
	sleep_until(now_ns() + 400 * NS_PER_MS);
	before = hogs_work(&hogs);
	began = now_ns();
	end_ns = began + ms * NS_PER_MS;
	for (unsigned int i = 0; i < count; i++) {
		/* Spread over the interval: all at once would measure their own queue. */
		threads[i].first_ns = began + INTERVAL_NS + i * INTERVAL_NS / count;
		threads[i].waits = calloc(capacity, sizeof(uint64_t));
		threads[i].capacity = capacity;
		if (!threads[i].waits ||
		    pthread_create(&threads[i].id, NULL, wake_periodically, &threads[i]))
			die("start a thread");
	}
	for (unsigned int i = 0; i < count; i++) {
		pthread_join(threads[i].id, NULL);
		memcpy(all + samples, threads[i].waits, threads[i].count * sizeof(*all));
		samples += threads[i].count;
	}
	after = hogs_work(&hogs);
	seconds = (double)(now_ns() - began) / NS_PER_S;
	hogs_stop(&hogs);
	errno = 0;
	if (samples < 50)
		die("the threads woke %zu times only", samples);
	sort_samples(all, samples);
	printf("{\"metrics\": {\"latency_p50_us\": %.1f, \"latency_p99_us\": %.1f, "
	       "\"latency_p999_us\": %.1f, \"latency_max_us\": %.1f, "
	       "\"hog_work_per_s\": %.1f}}\n",
	       (double)percentile(all, samples, 500) / NS_PER_US,
	       (double)percentile(all, samples, 990) / NS_PER_US,
	       (double)percentile(all, samples, 999) / NS_PER_US,
	       (double)all[samples - 1] / NS_PER_US, (double)(after - before) / seconds);
	return 0;
}
