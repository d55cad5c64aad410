/*
 * A switch over reasons and a forward goto.
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 rank = 0;

	switch (task->reason) {
	case COX_REASON_WAKE:
		rank = -1000000;
		break;
	case COX_REASON_FORK:
		goto out;
	case COX_REASON_EXPIRED:
		rank = (s64)task->run_ns;
		__attribute__((fallthrough));
	default:
		rank += task->lag_ns;
	}
out:
	return rank;
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
