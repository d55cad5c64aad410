/*
 * case 15: a function of the frame
 * tries: put a function in the place of one of the frame's
 * stops: proof(function)
 */
#include "cox/hooks.h"

long cox_group_offset(u32 slot)
{
	return 0;
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
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
