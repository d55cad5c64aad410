/*
 * case 9: recursion
 * tries: use stack without a bound
 * stops: proof(function)
 */
#include "cox/hooks.h"

static u64 again(u64 n)
{
	return n ? again(n >> 1) * n + again(n >> 2) : 1;
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)again(task->pages);
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
