/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Let it work: long slices, hardly any preemption, and tasks stay in their LLC. For many short
 * processes whose total matters and whose single delays do not.
 */
#include "cox/hooks.h"

const volatile u64 slice_ns = 20000000;
const volatile u64 settle_ns = 3000000;

/* Such as `make`, which would leave CPUs without work, or a neighbour that hardly needs one. */
COX_INLINE bool is_brief(const struct cox_task *task)
{
	return task->wakeups > 2 && cox_max_u64(task->avg_run_ns, task->run_ns) <= settle_ns;
}

/*
 * From front to back: who sleeps and hardly runs, for it is gone at once; who has just been
 * created, for most of them are short; everybody else. Who runs goes on a little before those who
 * wait, so that a process that is nearly done gets done.
 */
s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	if (is_brief(task))
		return -2 * (s64)slice_ns;
	if (task->attained_ns < settle_ns)
		return -(s64)slice_ns;
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return slice_ns;
}

/* The queue of the LLC: whichever of its CPUs is free first takes the task, caches are shared. */
u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

/* Only the brief may interrupt, and only who is not: it costs little and saves a whole slice. */
u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return is_brief(task) &&
	       cox_max_u64(cpu->running.avg_run_ns, cpu->running.run_ns) > settle_ns;
}
