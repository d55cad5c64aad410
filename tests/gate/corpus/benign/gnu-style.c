/*
 * Statement expressions, typeof, omitted operands, case ranges, empty macros' arguments.
 */
#include "cox/hooks.h"

#define MIN(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	switch (task->weight) {
	case 1 ... 99:
		return 1000000;
	default:
		return (s64)MIN(task->avg_run_ns ?: 1, task->avg_sleep_ns);
	}
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
