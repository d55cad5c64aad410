/*
 * Case 2: who sleeps waits, who computes goes on. Legal: the frame clamps ranks around the clock, so
 * whoever waits comes first in the end.
 */
#include "cox/hooks.h"

#define FURTHEST 0x7fffffffffffffffLL

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->reason == COX_REASON_EXPIRED ? -FURTHEST : FURTHEST;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ~0ULL;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
