/*
 * The shortest load that a scheduler can do better or worse: hogs on every CPU, and the neighbour
 * that wakes every 5 ms beside them.
 *
 *     pulse CPUS MILLISECONDS
 */
#include <stdio.h>

#include "beside.h"
#include "hogs.h"

#define HOGS_PER_CPU 2

int main(int argc, char **argv)
{
	struct beside beside;
	struct hogs hogs;
	unsigned long before, after;
	uint64_t ms, began, *waits, sum = 0;
	size_t count;
	double seconds;

	if (argc != 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
		fprintf(stderr, "usage: pulse CPUS MILLISECONDS\n");
		return 2;
	}
	ms = (uint64_t)atoi(argv[2]);
	use_exact_timers();
	beside_start(&beside);
	hogs_start(&hogs, (unsigned int)atoi(argv[1]) * HOGS_PER_CPU);
	sleep_until(now_ns() + ms / 4 * NS_PER_MS);
	before = hogs_work(&hogs);
	began = now_ns();
	beside_begin(&beside);
	sleep_until(began + ms * NS_PER_MS);
	after = hogs_work(&hogs);
	seconds = (double)(now_ns() - began) / NS_PER_S;
	beside_stop(&beside);
	hogs_stop(&hogs);
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
