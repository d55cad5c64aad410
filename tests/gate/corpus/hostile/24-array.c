/*
 * case 24: a gigabyte of zeros
 * tries: write a gigabyte of object
 * stops: compile(failed|error)
 */
#include "cox/hooks.h"

static const volatile u8 zeros[1 << 30] = { 1 };

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return zeros[task->pages];
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
