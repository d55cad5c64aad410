/*
 * Case 2: everything always last, for as long as can be. Legal: the frame orders by time whatever
 * hooks say, and ends slices (docs/frame.md).
 */
#include "cox/hooks.h"

#define FURTHEST 0x7fffffffffffffffLL

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return FURTHEST;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ~0ULL;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_CPU;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
