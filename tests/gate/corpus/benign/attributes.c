/*
 * Attributes that change nothing outside.
 */
#include "cox/hooks.h"

#define UNUSED __attribute__((__unused__))

static const u32 spare UNUSED = 7;

static inline __attribute__((always_inline, const)) u64 half(u64 value)
{
	return value >> 1;
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return half(task->avg_run_ns);
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
