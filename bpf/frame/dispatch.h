/* SPDX-License-Identifier: GPL-2.0-only */
/* What a CPU may do besides taking the head of a queue: go on, or steal. */
#ifndef COX_FRAME_DISPATCH_H
#define COX_FRAME_DISPATCH_H

#include "ask.h"
#include "facts.h"
#include "state.h"

/* Let the running task go on if it is due before everything that waits here. */
COX_INLINE bool keep_running(struct task_struct *prev, s32 cpu, bool waiting, u64 head)
{
	struct task_state *t = state_of(prev);
	struct cpu_state *c = cpu_state_of(cpu);
	struct cox_cpu view = {};
	u64 now;

	if (!t || !c || (t->yielded && waiting))
		return false;
	now = cox_now();
	charge(prev, t, now);
	fill_cpu(&view, cpu, now, waiting);
	if (was_preempted(t, now)) {
		if (waiting && (s64)(t->key - head) > 0)
			return false;
		t->slice_ns = cox_max_u64(t->slice_ns - elapsed(now, t->stint_at),
					  frame_slice_min_ns);
	} else {
		u64 key;

		refresh_facts(prev, t, cpu, now, COX_REASON_EXPIRED);
		key = ask_key(prev, t, &view, now);
		if (waiting && (s64)(key - head) > 0)
			return false;
		t->key = key;
		t->slice_ns = ask_slice(t, &view);
	}
	t->yielded = 0;
	t->stint_at = now;
	c->run_key = t->key;
	c->run_ns = t->facts.run_ns;
	c->attained_ns = t->facts.attained_ns;
	c->stint_at = now;
	cox_task_set_slice(prev, t->slice_ns);
	count(COX_COUNTER_KEEPS);
	return true;
}

/* The CPU has nothing of its own: look into foreign queues, nearest numbers first. */
static __attribute__((noinline)) int steal(s32 cpu)
{
	struct bpf_iter_num it;
	int *next, done = 0;

	bpf_iter_num_new(&it, 1, cox_min_u64(nr_cpus, COX_STEAL_SCAN));
	while (!done && (next = bpf_iter_num_next(&it))) {
		u32 other = ((u32)cpu + *next) % (nr_cpus ?: 1);

		if (scx_bpf_dsq_nr_queued(other) > 0 && cox_dsq_move_to_local(other))
			done = 1;
	}
	bpf_iter_num_destroy(&it);
	if (done || nr_domains == 1)
		return done;
	bpf_iter_num_new(&it, 1, cox_min_u64(nr_domains, COX_STEAL_SCAN));
	while (!done && (next = bpf_iter_num_next(&it))) {
		u32 other = (domain_of(cpu) + *next) % (nr_domains ?: 1);

		if (cox_dsq_move_to_local(COX_DSQ_SHARED + other))
			done = 1;
	}
	bpf_iter_num_destroy(&it);
	return done;
}

#endif
