/*
 * Conditions, an error that is not reached, and text that is skipped.
 */
#include "cox/hooks.h"

#define FAST 1

#if FAST && defined(COX_HOOKS_H)
#define SLICE_NS 1000000
#elif 0
#error there is no other way
#endif

#if 0
whatever stands here is no code at all
#endif

#ifdef COX_TYPES_H
#
#endif

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return SLICE_NS;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
