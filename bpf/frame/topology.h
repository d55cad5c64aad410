/* SPDX-License-Identifier: GPL-2.0-only */
/* Which CPUs share a queue. */
#ifndef COX_FRAME_TOPOLOGY_H
#define COX_FRAME_TOPOLOGY_H

#include "state.h"

/* What the kernel calls this CPU's LLC, a number below the number of CPUs; 0 if it does not say. */
COX_INLINE u32 llc_of(u32 cpu, u32 cpus)
{
	const int *llc = NULL;

	if (bpf_ksym_exists(&sd_llc_id))
		llc = bpf_per_cpu_ptr(&sd_llc_id, cpu);
	return llc && *llc >= 0 && *llc < (int)cpus ? *llc : 0;
}

#endif
