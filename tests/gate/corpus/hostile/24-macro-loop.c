/*
 * case 24: macros that lead back to themselves
 * tries: have an expansion go in circles
 * stops: source(macro)
 */
#include "cox/hooks.h"

#define A B + B
#define B A + A

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
