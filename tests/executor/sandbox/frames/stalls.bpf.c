/* SPDX-License-Identifier: GPL-2.0-only */
/* Takes tasks and never gives a CPU to those that may run anywhere. */
#include "broken.h"

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);

	if (!served_plainly(p, enq_flags))
		cox_dsq_insert(p, PARKED_DSQ, SLICE_NS, enq_flags);
}

SEC("struct_ops/dispatch")
void broken_dispatch(u64 *ctx)
{
	cox_dsq_move_to_local(OWN_DSQ + COX_ARG(ctx, 0, s32));
}

BROKEN_OPS();
