/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame: a complete sched_ext scheduler whose policy is four pure functions linked in from
 * elsewhere (cox/hooks.h). It owns every queue, kfunc and map, and keeps the promise that no
 * runnable task waits longer than a bound, whatever a hook returns. docs/frame.md has the bound,
 * its proof and its assumptions; the comments here say where each of its terms comes from.
 *
 * Queues: one for each CPU, and one for each LLC ("shared"). Both are ordered by key,
 *     key = time of enqueue + clamp(rank, +-window) + lag of its cgroup in [-group window, 0],
 * and a CPU always takes the lower of the two heads. Keys are clock readings, so what is queued
 * later than 2 * window + group window after a task cannot overtake it.
 */
#include "cox/abi.h"
#include "cox/bpf.h"
#include "cox/hooks.h"
#include "cox/kernel.h"
#include "cox/scx.h"

#include "ask.h"
#include "dispatch.h"
#include "facts.h"
#include "groups.h"
#include "preempt.h"
#include "state.h"
#include "topology.h"
#include "tunables.h"
#include "waits.h"

char _license[] SEC("license") = "GPL";

COX_INLINE void insert_direct(struct task_struct *p, struct task_state *t, u64 dsq,
			      const struct cox_cpu *view, u64 now, u64 enq_flags)
{
	t->slice_ns = ask_slice(t, view);
	/* Nobody waits for an idle CPU, so its runner may be preempted by anybody later. */
	t->key = now + frame_window_ns;
	t->enqueued_at = now;
	count(COX_COUNTER_DIRECT);
	cox_dsq_insert(p, dsq, t->slice_ns, enq_flags);
}

SEC("struct_ops/select_cpu")
s32 cox_op_select_cpu(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	s32 prev_cpu = COX_ARG(ctx, 1, s32);
	u64 wake_flags = COX_ARG(ctx, 2, u64);
	struct task_state *t = state_of(p);
	struct cpu_state *here = cpu_state_of(bpf_get_smp_processor_id());
	bool idle = false;
	s32 cpu;

	if (here)
		here->wakes++;
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);
	if (!t)
		return cpu;
	t->facts.flags &= ~COX_TASK_SYNC;
	if (wake_flags & COX_ENUM(scx_wake_flags, SCX_WAKE_SYNC))
		t->facts.flags |= COX_TASK_SYNC;
	if (idle) {
		struct cox_cpu view = { .cpu = cpu, .idle = 1 };
		u64 now = cox_now();
		bool fork = wake_flags & COX_ENUM(scx_wake_flags, SCX_WAKE_FORK);

		view.now_ns = now;
		note_wake(t, now);
		refresh_facts(p, t, cpu, now, fork ? COX_REASON_FORK : COX_REASON_WAKE);
		insert_direct(p, t, COX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL), &view, now, 0);
	}
	return cpu;
}

SEC("struct_ops/enqueue")
void cox_op_enqueue(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	u64 enq_flags = COX_ARG(ctx, 1, u64);
	bool wakeup = enq_flags & COX_ENUM(scx_enq_flags, SCX_ENQ_WAKEUP);
	struct task_state *t = state_of(p);
	struct cox_cpu view = {};
	s32 cpu = scx_bpf_task_cpu(p), idle = -1;
	u64 now = cox_now();
	bool was_running, movable, anywhere, preempted = false;
	u32 reason, place;
	u64 dsq;

	if (!t) {
		count(COX_COUNTER_STATELESS);
		cox_dsq_insert_key(p, cpu, frame_slice_min_ns, now, enq_flags);
		return;
	}
	was_running = t->on_cpu == 2;
	t->on_cpu = 0;
	if (!wakeup)
		t->slept_at = 0; /* a running task that is re-queued passes through a dequeue */
	if (wakeup) {
		note_wake(t, now);
		reason = COX_REASON_WAKE;
	} else if (!t->stint_at) {
		reason = COX_REASON_FORK;
	} else if (!was_running) {
		reason = COX_REASON_OTHER;
	} else if (t->yielded) {
		reason = COX_REASON_YIELD;
	} else {
		preempted = was_preempted(t, now);
		reason = preempted ? COX_REASON_PREEMPTED : COX_REASON_EXPIRED;
	}
	movable = !must_stay(p, was_running);
	/* Then it may wait in a shared queue without hiding what is behind it. */
	anywhere = movable && p->nr_cpus_allowed >= (int)nr_cpus;
	fill_cpu(&view, cpu, now, 1);
	refresh_facts(p, t, cpu, now, reason);

	/* select_cpu() was not asked, or the last look is old: is a CPU idle? */
	if (!was_running && scx_bpf_test_and_clear_cpu_idle(cpu)) {
		insert_direct(p, t, COX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL), &view, now,
			      enq_flags);
		return;
	}
	if (movable && p->nr_cpus_allowed > 1)
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (idle >= 0)
		scx_bpf_kick_cpu(idle, COX_ENUM(scx_kick_flags, SCX_KICK_IDLE));
	/* Otherwise it is in doubt whether the task may move; let the idle CPU find out. */
	if (idle >= 0 && !p->migration_disabled) {
		insert_direct(p, t, COX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | idle, &view,
			      now, enq_flags);
		return;
	}

	if (preempted) {
		t->slice_ns = cox_max_u64(t->slice_ns - elapsed(now, t->stint_at),
					  frame_slice_min_ns);
	} else {
		t->key = ask_key(p, t, &view, now);
		t->slice_ns = ask_slice(t, &view);
	}
	t->yielded = 0;
	if (!t->enqueued_at)
		t->enqueued_at = now;
	place = anywhere ? cox_place(&t->facts, &view) : COX_PLACE_CPU;
	if (place == COX_PLACE_CPU) {
		dsq = cpu;
		count(COX_COUNTER_ENQUEUE_CPU);
	} else {
		dsq = shared_queue(cpu);
		count(COX_COUNTER_ENQUEUE_SHARED);
	}
	cox_dsq_insert_key(p, dsq, t->slice_ns, t->key, enq_flags);
	if (reason == COX_REASON_WAKE || reason == COX_REASON_FORK)
		try_preempt(t, cpu, dsq == (u64)cpu, now);
}

SEC("struct_ops/dispatch")
void cox_op_dispatch(u64 *ctx)
{
	s32 cpu = COX_ARG(ctx, 0, s32);
	struct task_struct *prev = COX_ARG(ctx, 1, struct task_struct *);
	u64 own_key = 0, shared_key = 0;
	u64 shared = shared_queue(cpu);
	bool own = cox_dsq_head_key(cpu, &own_key);
	bool other = cox_dsq_head_key(shared, &shared_key);
	bool own_first = own && (!other || (s64)(own_key - shared_key) <= 0);

	if (prev && (prev->scx.flags & COX_ENUM(scx_ent_flags, SCX_TASK_QUEUED)) &&
	    keep_running(prev, cpu, own || other, own_first ? own_key : shared_key))
		return;
	if (own_first && cox_dsq_move_to_local(cpu)) {
		count(COX_COUNTER_DISPATCH_CPU);
		return;
	}
	if (cox_dsq_move_to_local(shared)) {
		count(COX_COUNTER_DISPATCH_SHARED);
		return;
	}
	if (!own_first && cox_dsq_move_to_local(cpu)) {
		count(COX_COUNTER_DISPATCH_CPU);
		return;
	}
	if (steal(cpu))
		count(COX_COUNTER_STEALS);
}

SEC("struct_ops/running")
void cox_op_running(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	struct task_state *t = state_of(p);
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_state *c = cpu_state_of(cpu);
	u64 now = cox_now();

	if (!t || !c)
		return;
	if (t->enqueued_at) {
		t->facts.last_wait_ns = elapsed(now, t->enqueued_at);
		count_wait(t->facts.last_wait_ns);
		count(COX_COUNTER_RUNS);
		t->enqueued_at = 0;
	}
	t->on_cpu = 1;
	t->stint_at = now;
	t->charged_at = now;
	c->run_key = t->key;
	c->run_ns = t->facts.run_ns;
	c->avg_run_ns = t->facts.avg_run_ns;
	c->attained_ns = t->facts.attained_ns;
	c->wakes = t->facts.wakes;
	c->weight = t->facts.weight;
	c->flags = t->facts.flags;
	c->stint_at = now;
}

SEC("struct_ops/stopping")
void cox_op_stopping(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	bool runnable = COX_ARG(ctx, 1, bool);
	struct task_state *t = state_of(p);
	struct cpu_state *c = cpu_state_of(bpf_get_smp_processor_id());
	u64 now = cox_now();

	if (!t || !c)
		return;
	charge(p, t, now);
	t->facts.wakes = c->wakes;
	c->stint_at = 0;
	if (runnable) {
		t->on_cpu = 2; /* enqueue, if it follows, sees that it comes from the CPU */
		/* If a higher class took the CPU, none follows: its slice goes on where it was. */
		t->slice_ns -= cox_min_u64(elapsed(now, t->stint_at), t->slice_ns);
		t->stint_at = now;
		return;
	}
	t->on_cpu = 0;
	t->yielded = 0;
	t->slept_at = now;
	t->facts.avg_run_ns = average(t->facts.avg_run_ns, t->facts.run_ns);
}

SEC("struct_ops/yield")
bool cox_op_yield(u64 *ctx)
{
	struct task_struct *from = COX_ARG(ctx, 0, struct task_struct *);
	struct task_state *t = state_of(from);

	if (t)
		t->yielded = 1;
	count(COX_COUNTER_YIELDS);
	cox_task_set_slice(from, 0);
	return false;
}

SEC("struct_ops.s/init_task")
s32 cox_op_init_task(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	struct scx_init_task_args *args = COX_ARG(ctx, 1, struct scx_init_task_args *);
	struct group *group;
	struct task_state *t;
	u64 now = cox_now();

	t = bpf_task_storage_get(&cox_tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -12; /* ENOMEM */
	t->created_at = args->fork ? now : now - elapsed(bpf_ktime_get_ns(), p->start_time);
	t->facts.attained_ns = args->fork ? 0 : p->se.sum_exec_runtime;
	if (bpf_core_field_exists(args->cgroup))
		t->group = slot_of_cgroup(args->cgroup);
	t->lag_group = t->group;
	group = group_of(t->group);
	if (group)
		t->vtime = group->task_vtime[0];
	return 0;
}

SEC("struct_ops/exit_task")
void cox_op_exit_task(u64 *ctx)
{
	struct task_struct *p = COX_ARG(ctx, 0, struct task_struct *);
	struct task_state *t = state_of(p);
	struct family *family;

	/* Threads are parts of a child, not children. */
	if (!t || !t->family || p->pid != p->tgid || !(p->flags & PF_EXITING))
		return;
	family = bpf_map_lookup_elem(&cox_families, &t->family);
	if (!family)
		return;
	family->run_ns = family->exits ? average(family->run_ns, t->facts.attained_ns)
				       : t->facts.attained_ns;
	family->exits++;
}

/* The task comes (back) from another scheduling class: it has not waited with us. */
SEC("struct_ops/enable")
void cox_op_enable(u64 *ctx)
{
	struct task_state *t = state_of(COX_ARG(ctx, 0, struct task_struct *));

	if (!t)
		return;
	t->enqueued_at = 0;
	t->slept_at = 0;
	t->on_cpu = 0;
}

SEC("struct_ops.s/cgroup_init")
s32 cox_op_cgroup_init(u64 *ctx)
{
	struct cgroup *cgrp = COX_ARG(ctx, 0, struct cgroup *);
	struct scx_cgroup_init_args *args = COX_ARG(ctx, 1, struct scx_cgroup_init_args *);
	struct cgroup_subsys_state *above = cgrp->self.parent;
	u64 id = cgrp->kn->id;
	struct bpf_iter_num it;
	int *next, done = 0;
	u32 parent;

	if (!above)
		return 0; /* the root: slot 0 */
	parent = slot_of_cgroup(above->cgroup);
	bpf_iter_num_new(&it, 1, COX_MAX_GROUPS);
	while (!done && (next = bpf_iter_num_next(&it))) {
		u32 slot = *next;
		struct group *group = group_of(slot);
		struct group *up;

		if (!group || group->id || __sync_val_compare_and_swap(&group->id, 0, id))
			continue;
		up = group_of(parent);
		group->weight = args->weight;
		group->parent = parent;
		group->vtime = up ? up->level_vtime : 0;
		bpf_map_update_elem(&cox_group_slots, &id, &slot, BPF_ANY);
		done = 1;
	}
	bpf_iter_num_destroy(&it);
	if (!done)
		count(COX_COUNTER_GROUPS_UNTRACKED);
	return 0;
}

SEC("struct_ops.s/cgroup_exit")
void cox_op_cgroup_exit(u64 *ctx)
{
	struct cgroup *cgrp = COX_ARG(ctx, 0, struct cgroup *);
	u64 id = cgrp->kn->id;
	u32 slot = slot_of_cgroup(cgrp);
	struct group *group = slot ? group_of(slot) : NULL;

	bpf_map_delete_elem(&cox_group_slots, &id);
	if (group)
		group->id = 0;
}

SEC("struct_ops/cgroup_move")
void cox_op_cgroup_move(u64 *ctx)
{
	struct task_state *t = state_of(COX_ARG(ctx, 0, struct task_struct *));

	if (t)
		t->group = slot_of_cgroup(COX_ARG(ctx, 2, struct cgroup *));
}

SEC("struct_ops/cgroup_set_weight")
void cox_op_cgroup_set_weight(u64 *ctx)
{
	u32 slot = slot_of_cgroup(COX_ARG(ctx, 0, struct cgroup *));
	struct group *group = slot ? group_of(slot) : NULL;

	if (group)
		group->weight = COX_ARG(ctx, 1, u32);
}

SEC("struct_ops.s/init")
s32 cox_op_init(u64 *ctx)
{
	u32 cpus = scx_bpf_nr_cpu_ids();
	struct bpf_iter_num it;
	u32 domains = 0;
	int *next;
	s32 err = 0;

	if (cpus > COX_MAX_CPUS)
		return -7; /* E2BIG */
	nr_cpus = cpus;
	/* Number the LLCs in the order in which their CPUs show up. */
	bpf_iter_num_new(&it, 0, cpus);
	while (!err && (next = bpf_iter_num_next(&it))) {
		u32 cpu = *next;
		u32 llc = llc_of(cpu, cpus);

		if (!llc_domain[llc & COX_CPU_MASK])
			llc_domain[llc & COX_CPU_MASK] = ++domains;
		cpu_domain[cpu & COX_CPU_MASK] = llc_domain[llc & COX_CPU_MASK] - 1;
		err = scx_bpf_create_dsq(cpu, -1);
	}
	bpf_iter_num_destroy(&it);

	/* Caches of one CPU each: sharing a queue costs nothing and balances. */
	if (domains == cpus) {
		domains = 1;
		bpf_iter_num_new(&it, 0, cpus);
		while ((next = bpf_iter_num_next(&it)))
			cpu_domain[*next & COX_CPU_MASK] = 0;
		bpf_iter_num_destroy(&it);
	}
	nr_domains = domains;
	bpf_iter_num_new(&it, 0, domains);
	while (!err && (next = bpf_iter_num_next(&it)))
		err = scx_bpf_create_dsq(COX_DSQ_SHARED + *next, -1);
	bpf_iter_num_destroy(&it);
	return err;
}

SEC("struct_ops.s/exit")
void cox_op_exit(u64 *ctx)
{
	struct scx_exit_info *info = COX_ARG(ctx, 0, struct scx_exit_info *);

	bpf_probe_read_kernel_str(cox_exit.reason, sizeof(cox_exit.reason), info->reason);
	bpf_probe_read_kernel_str(cox_exit.msg, sizeof(cox_exit.msg), info->msg);
	bpf_probe_read_kernel_str(cox_exit_dump, sizeof(cox_exit_dump), info->dump);
	cox_exit.exit_code = info->exit_code;
	cox_exit.kind = info->kind;
	__sync_fetch_and_add(&cox_exit.recorded, 1);
}

SEC(".struct_ops.link")
struct sched_ext_ops coxswain_ops = {
	.select_cpu = (void *)cox_op_select_cpu,
	.enqueue = (void *)cox_op_enqueue,
	.dispatch = (void *)cox_op_dispatch,
	.running = (void *)cox_op_running,
	.stopping = (void *)cox_op_stopping,
	.yield = (void *)cox_op_yield,
	.init_task = (void *)cox_op_init_task,
	.exit_task = (void *)cox_op_exit_task,
	.enable = (void *)cox_op_enable,
	.cgroup_init = (void *)cox_op_cgroup_init,
	.cgroup_exit = (void *)cox_op_cgroup_exit,
	.cgroup_move = (void *)cox_op_cgroup_move,
	.cgroup_set_weight = (void *)cox_op_cgroup_set_weight,
	.init = (void *)cox_op_init,
	.exit = (void *)cox_op_exit,
	.flags = COX_OPS_ENQ_EXITING | COX_OPS_ENQ_MIGRATION_DISABLED,
	.timeout_ms = 10000,
	.exit_dump_len = COX_DUMP_LEN,
	.name = "coxswain",
};
