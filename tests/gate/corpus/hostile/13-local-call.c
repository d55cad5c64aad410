/*
 * case 13: a call of a function of its own
 * tries: hide code behind a call that is not inlined
 * stops: source(attribute), proof(function)
 */
#include "cox/hooks.h"

__attribute__((noinline)) static u64 hidden(u64 x)
{
	return x * x * 3;
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)hidden(task->pages);
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
