/*
 * Answers that mean nothing. Legal: the frame takes an unknown place for COX_PLACE_SHARED and any
 * number but 0 for a yes.
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)(task->pages * task->wakes);
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->pages;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0xffffffff;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0xdeadbeef;
}
