/*
 * case 15: a weak hook
 * tries: have another definition win at link time
 * stops: source(attribute), proof(hook)
 */
#include "cox/hooks.h"

__attribute__((weak)) u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu);

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
