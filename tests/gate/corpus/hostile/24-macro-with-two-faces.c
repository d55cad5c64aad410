/*
 * case 24: a macro with two definitions
 * tries: have one definition counted and the other expanded
 * stops: source(macro)
 */
#include "cox/hooks.h"

#if 0
#define A 1
#else
#define A 2
#endif

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return A;
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
