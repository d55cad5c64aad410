/*
 * Signed division, remainders, shifts and 32-bit arithmetic.
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->lag_ns / 3 % 1000 + (s32)task->weight / -7;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (u64)(u32)(task->run_ns >> 3) * 5 / 4 % 100000000 + 1;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
