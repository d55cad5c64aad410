/* SPDX-License-Identifier: GPL-2.0-only */
/* Asking the hooks, and the clamps around their answers. */
#ifndef COX_FRAME_ASK_H
#define COX_FRAME_ASK_H

#include "groups.h"
#include "state.h"

COX_INLINE u64 ask_key(struct task_struct *p, struct task_state *t, const struct cox_cpu *view,
		       u64 now)
{
	s64 window = frame_window_ns;
	s64 group_window = frame_group_window_ns;
	s64 rank, offset;

	/* Kernel threads of one CPU hold up the whole machine: first, within the bound. */
	if ((t->facts.flags & (COX_TASK_KTHREAD | COX_TASK_PINNED)) ==
	    (COX_TASK_KTHREAD | COX_TASK_PINNED))
		return now - window - group_window;
	rank = cox_rank(&t->facts, view);
	if (rank < -window || rank > window)
		count(COX_COUNTER_RANK_CLAMPED);
	offset = cox_clamp_s64(rank, -window, window);
	if (t->group) {
		/*
		 * Weights outrank hooks: the further behind its cgroup is, the less the rank
		 * counts, until at the window's end the task goes before all that are not.
		 */
		s64 behind = cox_group_offset(t->group);

		offset += (offset + window) * (behind / 1024) / (group_window / 1024 ?: 1) + behind;
	}
	else if (t->facts.flags & COX_TASK_KTHREAD)
		offset -= (s64)(frame_group_window_ns / 2);
	return now + offset;
}

COX_INLINE u64 ask_slice(struct task_state *t, const struct cox_cpu *view)
{
	u64 low = frame_slice_min_ns, high = frame_slice_max_ns;
	u64 slice = cox_slice(&t->facts, view);
	u64 turn;

	if (slice < low || slice > high)
		count(COX_COUNTER_SLICE_CLAMPED);
	slice = cox_clamp_u64(slice, low, high);
	slice = slice * (t->facts.weight ?: 1) / 100;
	turn = frame_cycle_ns / (view->nr_queued + view->nr_shared + 1);
	return cox_clamp_u64(slice, low, cox_max_u64(cox_min_u64(high, turn), low));
}

/* Did it lose the CPU before its slice was used up? Then it keeps its place in the order. */
COX_INLINE bool was_preempted(const struct task_state *t, u64 now)
{
	return !t->yielded && elapsed(now, t->stint_at) + 50 * NSEC_PER_USEC < t->slice_ns;
}

#endif
