/*
 * case 13: helper 36, its number computed
 * tries: hide the number of a helper from whoever greps for it
 * stops: proof(call)
 */
#include "cox/hooks.h"

enum { HALF = 9, TWICE = 1 };

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ((long (*)(void))((HALF << TWICE << TWICE)))();
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
