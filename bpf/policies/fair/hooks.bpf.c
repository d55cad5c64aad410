/* SPDX-License-Identifier: GPL-2.0-only */
/* Weighted fair queueing: who has had less than its share runs first. */
#include "cox/hooks.h"

const volatile u64 slice_ns = 4000000;
const volatile u64 sleeper_credit_ns = 6000000;

/*
 * lag is vtime (CPU time over weight) relative to the most-served task, never above 0. A task
 * that has slept arrives with the most negative lag the frame allows; its credit cuts that.
 */
s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 floor = -(s64)sleeper_credit_ns;

	if (task->reason == COX_REASON_WAKE && task->lag_ns < floor)
		return floor;
	return task->lag_ns;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return slice_ns;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

/* A task that wakes with credit may interrupt one that has been running for a while. */
u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return cpu->running.stint_ns > slice_ns / 2;
}
