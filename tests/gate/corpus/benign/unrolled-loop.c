/*
 * A loop with a constant count, unrolled on demand, over a constant table and the stack.
 */
#include "cox/hooks.h"

static const volatile u32 weights[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	volatile s64 kept[4] = { 1, 2, 3, task->lag_ns };
	s64 sum = weights[task->weight & 7];

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += kept[i] / -3;
	return sum;
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
