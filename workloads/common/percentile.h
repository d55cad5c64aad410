/* Percentiles of samples: the nearest rank, so that every figure is one that was measured. */
#ifndef COX_PERCENTILE_H
#define COX_PERCENTILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static int compare_samples(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static inline void sort_samples(uint64_t *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), compare_samples);
}

/* `permille` of the sorted samples are at most the result; there must be at least one. */
static inline uint64_t percentile(const uint64_t *sorted, size_t count, unsigned int permille)
{
	size_t rank = (count * permille + 999) / 1000;

	return sorted[rank ? rank - 1 : 0];
}

#endif
