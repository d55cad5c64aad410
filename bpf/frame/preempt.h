/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a task that wakes may take a CPU at once. */
#ifndef COX_FRAME_PREEMPT_H
#define COX_FRAME_PREEMPT_H

#include "ask.h"
#include "state.h"

/* Ask, CPU by CPU, whether the task may take it from what runs there. */
static __attribute__((noinline)) int try_preempt(struct task_state *t COX_NONNULL, s32 first,
						 u32 alone, u64 now)
{
	u32 domain = domain_of(first);
	struct bpf_iter_num it;
	int *next, done = 0;

	bpf_iter_num_new(&it, 0, alone ? 1 : cox_min_u64(nr_cpus, COX_PREEMPT_SCAN));
	while (!done && (next = bpf_iter_num_next(&it))) {
		u32 cpu = ((u32)first + *next) % (nr_cpus ?: 1);
		struct cox_cpu view = {};
		struct cpu_state *c;

		if (domain_of(cpu) != domain)
			continue;
		c = cpu_state_of(cpu);
		if (!c || !c->stint_at)
			continue;
		if ((t->facts.flags & (COX_TASK_KTHREAD | COX_TASK_PINNED)) !=
		    (COX_TASK_KTHREAD | COX_TASK_PINNED)) {
			fill_cpu(&view, cpu, now, 0);
			if (!cox_preempt(&t->facts, &view))
				continue;
		}
		/*
		 * A preempted task keeps its key, so this also says: who has waited long
		 * enough gets its whole slice, whatever the hooks want.
		 */
		if ((s64)(t->key - c->run_key) >= 0) {
			count(COX_COUNTER_PREEMPT_OUTRANKED);
			continue;
		}
		if (elapsed(now, c->preempted_at) < frame_preempt_gap_ns) {
			count(COX_COUNTER_PREEMPT_TOO_SOON);
			continue;
		}
		c->preempted_at = now;
		count(COX_COUNTER_PREEMPTIONS);
		scx_bpf_kick_cpu(cpu, COX_ENUM(scx_kick_flags, SCX_KICK_PREEMPT));
		done = 1;
	}
	bpf_iter_num_destroy(&it);
	return done;
}

#endif
