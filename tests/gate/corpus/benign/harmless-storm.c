/*
 * Case 18: every wake-up preempts everybody, slices are as short as can be, queues are random. Legal:
 * the frame keeps a gap between preemptions and a least slice.
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return -(s64)(cpu->now_ns % 1000000000);
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (u32)(cpu->now_ns >> 10) & 3;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 1;
}
