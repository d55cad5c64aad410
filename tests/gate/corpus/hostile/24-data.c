/*
 * case 24: more data than a hook needs
 * tries: write a table of eight kilobytes
 * stops: proof(data)
 */
#include "cox/hooks.h"

static const volatile u64 table[1000] = { 1 };

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)table[task->pages % 1000];
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
