/*
 * case 21: a variable with a first value
 * tries: keep something from one call to the next
 * stops: proof(section)
 */
#include "cox/hooks.h"

u64 kept = 1;

u64 *leak(void)
{
	return &kept;
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
