/*
 * case 7: a backward goto
 * tries: loop without a word for it
 * stops: proof(loop)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 n = task->lag_ns;

again:
	n = n * 7 ^ (s64)cpu->now_ns;
	if (n & 64)
		goto again;
	return n;
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
