/*
 * case 7: a loop of 8 million turns
 * tries: stay within the verifier's limit and be slow
 * stops: proof(loop)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 n = 0;

	for (u32 i = 0; i < 8388608; i++)
		n ^= n * 3 + (s64)task->pages + i;
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
