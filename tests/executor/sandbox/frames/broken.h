/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the broken schedulers beside this share: two queues, an exit record, and the little that
 * the loader wants to see. They are for tests of the sandbox alone; no gate lets them pass.
 */
#ifndef BROKEN_H
#define BROKEN_H

#include "cox/abi.h"
#include "cox/bpf.h"
#include "cox/kernel.h"
#include "cox/scx.h"

#define FREE_DSQ 0    /* who is served */
#define PARKED_DSQ 1  /* who is not */
#define OWN_DSQ 16    /* and the CPU's number: bound tasks */
#define MOST_CPUS 64
#define SLICE_NS 5000000ULL
#define SECOND_NS 1000000000ULL

char _license[] SEC("license") = "GPL";

struct cox_exit_record cox_exit SEC(".data.exit");
char cox_exit_dump[COX_DUMP_LEN] SEC(".data.dump");
enum cox_counter cox_counter_names SEC(".data.meta");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COX_COUNTER_NR);
	__type(key, u32);
	__type(value, u64);
} cox_counters SEC(".maps");

SEC("struct_ops.s/init")
s32 broken_init(u64 *ctx)
{
	s32 err = scx_bpf_create_dsq(FREE_DSQ, -1) ?: scx_bpf_create_dsq(PARKED_DSQ, -1);
	struct bpf_iter_num it;
	int *next;

	bpf_iter_num_new(&it, 0, MOST_CPUS);
	while (!err && (next = bpf_iter_num_next(&it)))
		err = scx_bpf_create_dsq(OWN_DSQ + *next, -1);
	bpf_iter_num_destroy(&it);
	return err;
}

SEC("struct_ops.s/exit")
void broken_exit(u64 *ctx)
{
	struct scx_exit_info *info = COX_ARG(ctx, 0, struct scx_exit_info *);

	bpf_probe_read_kernel_str(cox_exit.reason, sizeof(cox_exit.reason), info->reason);
	bpf_probe_read_kernel_str(cox_exit.msg, sizeof(cox_exit.msg), info->msg);
	bpf_probe_read_kernel_str(cox_exit_dump, sizeof(cox_exit_dump), info->dump);
	cox_exit.exit_code = info->exit_code;
	cox_exit.kind = info->kind;
	__sync_fetch_and_add(&cox_exit.recorded, 1);
}

/* Goes where it was; whoever needs a CPU is queued by enqueue(). */
SEC("struct_ops/select_cpu")
s32 broken_select_cpu(u64 *ctx)
{
	return COX_ARG(ctx, 1, s32);
}

/* Threads of the kernel and bound tasks are served as they should be: not they are the point. */
COX_INLINE bool served_plainly(struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (p->flags & PF_KTHREAD) {
		cox_dsq_insert(p, COX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL), SLICE_NS, enq_flags);
		return true;
	}
	/* Where there is one CPU nobody is bound. Who is leaving its CPU counts as
	 * migration-disabled once by this program alone.
	 */
	if ((p->nr_cpus_allowed > 1 || scx_bpf_nr_cpu_ids() == 1) && p->migration_disabled < 2)
		return false;
	cox_dsq_insert(p, OWN_DSQ + cpu, SLICE_NS, enq_flags);
	scx_bpf_kick_cpu(cpu, COX_ENUM(scx_kick_flags, SCX_KICK_IDLE));
	return true;
}

/* Bound tasks and those of a queue take turns on a CPU. */
static u32 turns[MOST_CPUS];

COX_INLINE bool serve(s32 cpu, u64 queue)
{
	bool own_first = turns[cpu & (MOST_CPUS - 1)]++ & 1;

	if (own_first && cox_dsq_move_to_local(OWN_DSQ + cpu))
		return true;
	if (cox_dsq_move_to_local(queue))
		return true;
	return !own_first && cox_dsq_move_to_local(OWN_DSQ + cpu);
}

/* An idle CPU that nobody tells sleeps on. */
COX_INLINE void wake_idle(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, COX_ENUM(scx_kick_flags, SCX_KICK_IDLE));
}

/* True at most once in each period, over all CPUs. */
static u64 last_time;

COX_INLINE bool once_in(u64 period_ns)
{
	u64 now = bpf_ktime_get_ns(), last = last_time;

	if (!last)
		last = __sync_val_compare_and_swap(&last_time, 0, now) ?: now;
	return (s64)(now - last) > (s64)period_ns &&
	       __sync_val_compare_and_swap(&last_time, last, now) == last;
}

#define BROKEN_OPS(...)                                         \
	SEC(".struct_ops.link")                                 \
	struct sched_ext_ops coxswain_ops = {                   \
		.select_cpu = (void *)broken_select_cpu,        \
		.enqueue = (void *)broken_enqueue,              \
		.dispatch = (void *)broken_dispatch,            \
		.init = (void *)broken_init,                    \
		.exit = (void *)broken_exit,                    \
		.flags = COX_OPS_ENQ_EXITING | COX_OPS_ENQ_MIGRATION_DISABLED, \
		.timeout_ms = 10000,                            \
		.exit_dump_len = COX_DUMP_LEN,                  \
		.name = "broken",                               \
	}

#endif
