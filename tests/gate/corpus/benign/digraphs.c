/*
 * Digraphs are C.
 */
%:include "cox/hooks.h"

static const volatile u64 table<:4:> = <% 1, 2, 3, 4 %>;

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)table<:task->wakeups & 3:>;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
