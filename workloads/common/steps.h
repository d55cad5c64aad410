/*
 * Work of a known amount: steps, and how many of them take a microsecond on this machine. They are
 * counted once, in a workload's set-up, so that every round does the same work whoever schedules it.
 */
#ifndef COX_STEPS_H
#define COX_STEPS_H

#include <stdio.h>

#include "clock.h"
#include "die.h"

#define CALIBRATION_STEPS 2000000ULL
#define CALIBRATION_RUNS 7

static volatile uint64_t steps_sink;

static inline void do_steps(uint64_t steps)
{
	uint64_t value = steps_sink | 1;

	for (uint64_t i = 0; i < steps; i++)
		value = value * 6364136223846793005ULL + (value >> 29);
	steps_sink = value;
}

/* Writes steps for each microsecond of CPU time, by the fastest of some runs. */
static inline void calibrate(const char *path)
{
	uint64_t best = UINT64_MAX;
	FILE *file = fopen(path, "w");

	for (int i = 0; i < CALIBRATION_RUNS; i++) {
		uint64_t start = read_clock(CLOCK_THREAD_CPUTIME_ID), took;

		do_steps(CALIBRATION_STEPS);
		took = read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
		if (took < best)
			best = took;
	}
	if (!file || fprintf(file, "%.3f\n", (double)CALIBRATION_STEPS * 1e3 / (double)best) < 0 ||
	    fclose(file))
		die("write %s", path);
}

/* What calibrate() has written. */
static inline double calibrated(const char *path)
{
	FILE *file = fopen(path, "r");
	double steps_per_us;

	if (!file || fscanf(file, "%lf", &steps_per_us) != 1 || steps_per_us <= 0)
		die("read %s", path);
	fclose(file);
	return steps_per_us;
}

#endif
