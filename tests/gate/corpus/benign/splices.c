/*
 * Lines may be continued anywhere.
 */
#include "cox/hooks.h"

#define LONG_ONE(a, b) \
	((a) > (b) ? \
	 (a) : (b))

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)LONG_ONE(task->run_\
ns, task->avg_run_ns);
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
