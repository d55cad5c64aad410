/*
 * Macros that use each other, with arguments, in moderation.
 */
#include "cox/hooks.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MAX3(a, b, c) MAX(a, MAX(b, c))
#define MS(n) ((n) * NSEC_PER_MSEC)
#define UNUSED

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)MAX3(task->run_ns, task->avg_run_ns, MS(3));
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return MAX(MS(1), MAX(MS(2), task->avg_run_ns));
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
