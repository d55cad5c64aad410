/*
 * case 21: a variable that is written
 * tries: keep something from one call to the next
 * stops: proof(section)
 */
#include "cox/hooks.h"

static volatile u64 kept;

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)kept++;
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
