/*
 * case 14: an address smuggled over the stack
 * tries: lose track of what is an address, then read from it
 * stops: proof(load)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	volatile u64 kept[2] = { task->pages, 0 };

	return *(volatile s64 *)kept[0];
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
