/*
 * case 23: the compiler's name
 * tries: learn where, when or in which order the gate builds
 * stops: source(word)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return sizeof(__VERSION__);
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
