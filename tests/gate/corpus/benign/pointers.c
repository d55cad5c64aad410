/*
 * Pointers into facts, chosen at run time.
 */
#include "cox/hooks.h"

COX_INLINE u64 longest(const struct cox_running *running)
{
	return cox_max_u64(running->run_ns, running->avg_run_ns);
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	const u64 *fact = task->flags & COX_TASK_SYNC ? &task->run_ns : &task->avg_run_ns;

	return (s64)*fact - (s64)longest(&cpu->running);
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
