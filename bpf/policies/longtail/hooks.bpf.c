/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Batches with a long tail: the batch is done when its longest job is, so the longest must not
 * start last. Jobs are tasted first: each runs for a moment, which shows its input and its
 * footprint. Then they run to completion, likely long ones first. A job is likely long if it
 * reads or maps far more than its siblings, or has already used far more CPU time than the ones
 * that are done. Tasks that sleep a lot are no jobs and go before all of it.
 */
#include "cox/hooks.h"

const volatile u64 taste_ns = 4000000;
const volatile u64 span_ns = 1250000000;
const volatile u64 short_ns = 2000000;
const volatile u64 slice_ns = 8000000;
const volatile u32 outlier_pct = 200;

#define LEAST_INPUT_BYTES 65536
#define LEAST_PAGES 2048
#define LEAST_EXITS 2

COX_INLINE bool stands_out(u64 value, u64 typical)
{
	return value > typical / 100 * outlier_pct;
}

COX_INLINE bool is_likely_long(const struct cox_task *task)
{
	if (task->input_bytes > LEAST_INPUT_BYTES && stands_out(task->input_bytes, task->family_input))
		return true;
	if (task->pages > LEAST_PAGES && stands_out(task->pages, task->family_pages))
		return true;
	return task->family_exits >= LEAST_EXITS &&
	       stands_out(task->attained_ns, task->family_run_ns);
}

COX_INLINE bool is_interactive(const struct cox_task *task)
{
	return task->wakeups > 2 && cox_max_u64(task->avg_run_ns, task->run_ns) <= short_ns;
}

/*
 * From front to back: no job, new, likely long, begun, only tasted. A begun job's place improves
 * faster than time passes, so it keeps its CPU; one that was let in because it had waited too
 * long does not take over for good.
 */
s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 span = span_ns;

	if (is_interactive(task))
		return -2 * span;
	if (task->attained_ns < taste_ns)
		return -span - 3 * (span / 4);
	if (is_likely_long(task))
		return -span - span / 2;
	if (task->attained_ns >= 2 * taste_ns)
		return -(s64)cox_min_u64(8 * task->attained_ns, span);
	return 2 * span;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->attained_ns < taste_ns ? taste_ns : slice_ns;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return is_interactive(task) &&
	       cox_max_u64(cpu->running.avg_run_ns, cpu->running.run_ns) > short_ns;
}
