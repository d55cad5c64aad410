/*
 * case 15: a constructor
 * tries: have a function listed to be run at start
 * stops: source(attribute), proof(function)
 */
#include "cox/hooks.h"

__attribute__((constructor)) void first(void)
{
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
