/*
 * case 13: a call through a register
 * tries: call whatever number a fact happens to be
 * stops: proof(call)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ((long (*)(u64))task->pages)(1);
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
