/* When requests are due: a Poisson process drawn from the seed, whatever the system does. */
#ifndef COX_ARRIVALS_H
#define COX_ARRIVALS_H

#include <math.h>

#include "clock.h"
#include "random.h"

struct arrivals {
	uint64_t random, due_ns, mean_gap_ns;
};

/* Moves `due_ns` to the next request. */
static inline uint64_t next_due(struct arrivals *arrivals)
{
	double unit = ((double)(next_random(&arrivals->random) >> 11) + 0.5) * 0x1p-53;

	arrivals->due_ns += (uint64_t)(-log(unit) * (double)arrivals->mean_gap_ns);
	return arrivals->due_ns;
}

#endif
