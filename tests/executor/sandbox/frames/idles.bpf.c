/* SPDX-License-Identifier: GPL-2.0-only */
/* Only the first CPU serves who may run anywhere; the others wait for tasks that are bound. */
#include "broken.h"

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);

	if (served_plainly(p, enq_flags))
		return;
	cox_dsq_insert(p, FREE_DSQ, SLICE_NS, enq_flags);
	scx_bpf_kick_cpu(0, COX_ENUM(scx_kick_flags, SCX_KICK_IDLE));
}

SEC("struct_ops/dispatch")
void broken_dispatch(u64 *ctx)
{
	s32 cpu = COX_ARG(ctx, 0, s32);

	serve(cpu, cpu ? PARKED_DSQ : FREE_DSQ);
}

BROKEN_OPS();
