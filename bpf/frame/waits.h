/* SPDX-License-Identifier: GPL-2.0-only */
/* How long tasks have waited. */
#ifndef COX_FRAME_WAITS_H
#define COX_FRAME_WAITS_H

#include "state.h"

COX_INLINE void count_wait(u64 wait)
{
	u32 counter = COX_COUNTER_WAIT_MAX_NS;
	u64 *longest = bpf_map_lookup_elem(&cox_counters, &counter);
	u64 rest = wait / NSEC_PER_USEC;
	u32 bucket = 0;
	u64 *value;

	if (longest && wait > *longest)
		*longest = wait;
	if (rest >= 1ULL << 32) {
		bucket += 32;
		rest >>= 32;
	}
	if (rest >= 1ULL << 16) {
		bucket += 16;
		rest >>= 16;
	}
	if (rest >= 1ULL << 8) {
		bucket += 8;
		rest >>= 8;
	}
	if (rest >= 1ULL << 4) {
		bucket += 4;
		rest >>= 4;
	}
	if (rest >= 1ULL << 2) {
		bucket += 2;
		rest >>= 2;
	}
	if (rest >= 1ULL << 1)
		bucket += 1;
	if (bucket >= COX_WAIT_BUCKETS)
		bucket = COX_WAIT_BUCKETS - 1;
	value = bpf_map_lookup_elem(&cox_wait_hist, &bucket);
	if (value)
		*value += 1;
	count_add(COX_COUNTER_WAIT_NS, wait);
}

#endif
