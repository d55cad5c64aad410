/* splitmix64 (Steele, Lea, Flood 2014): small, and the same on every machine. */
#ifndef COX_RANDOM_H
#define COX_RANDOM_H

#include <stdint.h>

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Uniform in [0, bound): values that would favour the low ones are drawn again. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
	uint64_t unfair = -bound % bound;
	uint64_t value;

	do
		value = next_random(state);
	while (value < unfair);
	return value % bound;
}

#endif
