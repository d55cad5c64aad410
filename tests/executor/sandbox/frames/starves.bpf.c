/* SPDX-License-Identifier: GPL-2.0-only */
/* Lets those of a nice value wait for seconds, but never as long as the watchdog wants. */
#include "broken.h"

#define PARKED_FOR_NS (6 * SECOND_NS)

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);

	if (served_plainly(p, enq_flags))
		return;
	if (p->scx.weight < 100) {
		cox_dsq_insert(p, PARKED_DSQ, SLICE_NS, enq_flags);
		return;
	}
	cox_dsq_insert(p, FREE_DSQ, SLICE_NS, enq_flags);
	wake_idle(p);
}

SEC("struct_ops/dispatch")
void broken_dispatch(u64 *ctx)
{
	s32 cpu = COX_ARG(ctx, 0, s32);

	if (!once_in(PARKED_FOR_NS) || !cox_dsq_move_to_local(PARKED_DSQ))
		serve(cpu, FREE_DSQ);
}

BROKEN_OPS();
