/*
 * case 9: a kilobyte of stack
 * tries: use more stack than the kernel gives
 * stops: compile(error)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	volatile u64 much[128];

	for (int i = 0; i < 128; i++)
		much[i] = task->pages;
	return (s64)much[cpu->cpu & 127];
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
