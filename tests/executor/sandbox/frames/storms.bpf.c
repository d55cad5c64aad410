/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whoever begins to wait takes all CPUs from whoever has them, and who has lost one does the same:
 * everybody gets a turn, and nobody gets anything done in it.
 */
#include "broken.h"

static __attribute__((noinline)) void kick_all(void)
{
	u64 preempt = COX_ENUM(scx_kick_flags, SCX_KICK_PREEMPT);
	struct bpf_iter_num it;
	int *next;

	bpf_iter_num_new(&it, 0, scx_bpf_nr_cpu_ids());
	while ((next = bpf_iter_num_next(&it)))
		scx_bpf_kick_cpu(*next, preempt);
	bpf_iter_num_destroy(&it);
}

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);

	if (served_plainly(p, enq_flags))
		return;
	cox_dsq_insert(p, FREE_DSQ, SLICE_NS, enq_flags);
	kick_all();
}

SEC("struct_ops/dispatch")
void broken_dispatch(u64 *ctx)
{
	s32 cpu = COX_ARG(ctx, 0, s32);

	serve(cpu, FREE_DSQ);
	kick_all();
}

BROKEN_OPS();
