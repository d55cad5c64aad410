/*
 * Case 3: one kind of task has everything, always, and may take it at any time. Legal: names are no
 * facts, the others' wait is bounded, and preemption needs a lower key.
 */
#include "cox/hooks.h"

#define FURTHEST 0x7fffffffffffffffLL

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->weight > 100 ? -FURTHEST : FURTHEST;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->weight > 100 ? ~0ULL : 0;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->weight > 100;
}
