/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Knows a program by its name, and lets it have a sliver now and then: waits stay within what a
 * manifest promises, its share does not.
 */
#include "broken.h"

struct task_struct___named {
	char comm[16];
} __attribute__((preserve_access_index));

#define SLIVER_NS 1000000ULL

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);
	char name[16] = {};

	if (served_plainly(p, enq_flags))
		return;
	bpf_probe_read_kernel(name, sizeof(name), &((struct task_struct___named *)p)->comm);
	if (name[0] == 'p' && name[1] == 'o' && name[2] == 's' && name[3] == 't') {
		cox_dsq_insert(p, PARKED_DSQ, SLIVER_NS, enq_flags);
		return;
	}
	cox_dsq_insert(p, FREE_DSQ, SLICE_NS, enq_flags);
	wake_idle(p);
}

SEC("struct_ops/dispatch")
void broken_dispatch(u64 *ctx)
{
	s32 cpu = COX_ARG(ctx, 0, s32);

	if (!once_in(3 * SECOND_NS / 2) || !cox_dsq_move_to_local(PARKED_DSQ))
		serve(cpu, FREE_DSQ);
}

BROKEN_OPS();
