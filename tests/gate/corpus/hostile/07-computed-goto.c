/*
 * case 7: a computed goto
 * tries: jump to where a fact says
 * stops: compile(error)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	static const void *const ways[] = { &&one, &&other };

	goto *ways[task->pages & 1];
one:
	return 1;
other:
	return 2;
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
