/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Short runners first. A task that sleeps before it has used much CPU time is somebody's answer
 * in the making: it goes to the front and takes a CPU from whoever computes for long.
 */
#include "cox/hooks.h"

const volatile u64 short_ns = 2000000;
const volatile u64 boost_ns = 150000000;
const volatile u64 slice_ns = 8000000;

/* What the task is likely to run before it sleeps; who never slept shows it by running. */
COX_INLINE u64 expected_run_ns(u64 avg_run_ns, u64 run_ns)
{
	return cox_max_u64(avg_run_ns, run_ns);
}

COX_INLINE bool is_short(const struct cox_task *task)
{
	return expected_run_ns(task->avg_run_ns, task->run_ns) <= short_ns;
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	if (is_short(task))
		return -(s64)boost_ns;
	return (s64)boost_ns + task->lag_ns / 2;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return slice_ns;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return is_short(task) &&
	       expected_run_ns(cpu->running.avg_run_ns, cpu->running.run_ns) > short_ns;
}
