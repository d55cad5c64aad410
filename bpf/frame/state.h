/* SPDX-License-Identifier: GPL-2.0-only */
/* What the frame remembers: its maps, and how to get at them. */
#ifndef COX_FRAME_STATE_H
#define COX_FRAME_STATE_H

#include "cox/abi.h"
#include "cox/bpf.h"
#include "cox/hooks.h"
#include "cox/kernel.h"
#include "cox/scx.h"
#include "tunables.h"

/* State of a CPU. Written by that CPU under its run-queue lock, read by others as a hint. */
struct cpu_state {
	u64 stint_at;     /* when the running task got this CPU, ns; 0: nothing of ours runs */
	u64 run_key;      /* its key */
	u64 preempted_at; /* last preemption kick, ns */
	u64 run_ns;       /* its facts, as of stint_at */
	u64 avg_run_ns;
	u64 attained_ns;
	u64 wakes;        /* wake-ups it has done */
	u32 weight;
	u32 flags;
} __attribute__((aligned(64)));

struct task_state {
	struct cox_task facts; /* the only part that hooks see */
	u64 key;               /* its place in the order, ns */
	u64 slice_ns;          /* what it may run from stint_at on */
	u64 enqueued_at;       /* since when it waits, ns; 0: it does not */
	u64 stint_at;          /* since when it has the CPU, or when it lost it, ns; 0: never ran */
	u64 charged_at;        /* up to when its running was accounted, ns */
	u64 slept_at;          /* since when it sleeps, ns; 0: it does not */
	u64 created_at;
	u64 vtime;             /* CPU time scaled by 100 / weight, ns */
	u32 group;             /* slot of its cgroup */
	u32 family;            /* process id of its parent, the key of its family */
	u32 lag_group;         /* whose clock its vtime is measured against */
	u32 lag_domain;
	u32 on_cpu;            /* 1 between running and stopping */
	u32 yielded;
	u32 input_looks;       /* how often its open files were looked at */
};

/* A cgroup with the cpu controller. Weights are honoured level by level. */
struct group {
	u64 id;          /* cgroup id; 0: slot is free */
	u64 vtime;       /* CPU time scaled by 100 / weight, ns */
	u64 level_vtime; /* the most-served of its children's vtime */
	u32 weight;
	u32 parent;      /* slot */
	u64 task_vtime[COX_DOMAIN_CLOCKS]; /* the most-served of its tasks' vtime, by LLC */
};

/* What is known about the children of a process. */
struct family {
	u64 run_ns;
	u64 pages;
	u64 input;
	u64 exits;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} cox_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COX_MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu_state);
} cox_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COX_MAX_GROUPS);
	__type(key, u32);
	__type(value, struct group);
} cox_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COX_MAX_GROUPS);
	__type(key, u64);
	__type(value, u32);
} cox_group_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, COX_MAX_FAMILIES);
	__type(key, u32);
	__type(value, struct family);
} cox_families SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COX_COUNTER_NR);
	__type(key, u32);
	__type(value, u64);
} cox_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COX_WAIT_BUCKETS);
	__type(key, u32);
	__type(value, u64);
} cox_wait_hist SEC(".maps");

struct cox_exit_record cox_exit SEC(".data.exit");
char cox_exit_dump[COX_DUMP_LEN] SEC(".data.dump");
/* Keeps the enum in the object's BTF, where user space finds the names. */
enum cox_counter cox_counter_names SEC(".data.meta");

static u32 nr_cpus;                  /* possible CPUs */
static u32 nr_domains;
static u32 llc_domain[COX_MAX_CPUS]; /* domain of an LLC by the kernel's number, plus 1 */
static u32 cpu_domain[COX_MAX_CPUS]; /* LLC of a CPU, numbered from 0 */

COX_INLINE void count_add(u32 counter, u64 amount)
{
	u64 *value = bpf_map_lookup_elem(&cox_counters, &counter);

	if (value)
		*value += amount;
}

COX_INLINE void count(u32 counter)
{
	count_add(counter, 1);
}

COX_INLINE struct task_state *state_of(struct task_struct *p)
{
	return bpf_task_storage_get(&cox_tasks, p, NULL, 0);
}

COX_INLINE struct cpu_state *cpu_state_of(u32 cpu)
{
	return bpf_map_lookup_elem(&cox_cpus, &cpu);
}

COX_INLINE struct group *group_of(u32 slot)
{
	return bpf_map_lookup_elem(&cox_groups, &slot);
}

COX_INLINE u32 domain_of(u32 cpu)
{
	return cpu_domain[cpu & COX_CPU_MASK];
}

COX_INLINE u64 shared_queue(u32 cpu)
{
	return COX_DSQ_SHARED + domain_of(cpu);
}

COX_INLINE u64 average(u64 old, u64 sample)
{
	return old - old / 4 + sample / 4;
}

COX_INLINE u64 elapsed(u64 now, u64 since)
{
	/* Clocks of two CPUs may differ by a little. */
	return (s64)(now - since) > 0 ? now - since : 0;
}

/*
 * On a CPU inside a BPF program `current` counts as migration-disabled once by that alone, so
 * this errs on the side of "free" for a task that is leaving its own CPU. Harmless: the kernel
 * itself skips a task in the shared queue that may not move.
 */
COX_INLINE bool must_stay(const struct task_struct *p, bool is_current)
{
	return p->migration_disabled > (is_current ? 1 : 0);
}

static __attribute__((noinline)) void fill_cpu(struct cox_cpu *view COX_NONNULL, u32 cpu, u64 now,
					       u32 with_queues)
{
	struct cpu_state *c = cpu_state_of(cpu);

	view->now_ns = now;
	view->cpu = cpu;
	if (with_queues) {
		view->nr_queued = scx_bpf_dsq_nr_queued(cpu);
		view->nr_shared = scx_bpf_dsq_nr_queued(shared_queue(cpu));
	}
	view->idle = 1;
	if (c && c->stint_at) {
		u64 stint = elapsed(now, c->stint_at);

		view->idle = 0;
		view->running.stint_ns = stint;
		view->running.run_ns = c->run_ns + stint;
		view->running.avg_run_ns = c->avg_run_ns;
		view->running.attained_ns = c->attained_ns + stint;
		view->running.wakes = c->wakes;
		view->running.weight = c->weight;
		view->running.flags = c->flags;
	}
}

#endif
