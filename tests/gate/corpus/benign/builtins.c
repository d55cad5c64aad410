/*
 * Builtins that are plain computation, and generic selection.
 */
#include "cox/hooks.h"

#define ZERO(x) _Generic((x), u64: 0ULL, default: 0)

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 63 - (s64)__builtin_clzll(task->run_ns | 1) + __builtin_popcount(task->flags);
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return __builtin_expect(task->weight > 100, 1) ? 4000000 : ZERO(task->run_ns);
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
