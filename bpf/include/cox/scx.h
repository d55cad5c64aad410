/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfuncs of sched_ext under the names they had from 6.12 to 7.3. All are weak: one that the
 * running kernel lacks resolves to 0, the verifier then drops the branch that calls it. libbpf
 * cuts a symbol at its last "___", so `x___v2___new` looks for the kernel's `x___v2`.
 */
#ifndef COX_SCX_H
#define COX_SCX_H

#include "cox/bpf.h"
#include "cox/kernel.h"

#define COX_KFUNC extern __weak __ksym

COX_KFUNC s32 scx_bpf_create_dsq(u64 dsq_id, s32 node);
COX_KFUNC u32 scx_bpf_nr_cpu_ids(void);
COX_KFUNC s32 scx_bpf_task_cpu(const struct task_struct *p);
COX_KFUNC s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
				     bool *is_idle);
COX_KFUNC bool scx_bpf_test_and_clear_cpu_idle(s32 cpu);
COX_KFUNC s32 scx_bpf_pick_idle_cpu(const struct cpumask *cpus_allowed, u64 flags);
COX_KFUNC void scx_bpf_kick_cpu(s32 cpu, u64 flags);
COX_KFUNC s32 scx_bpf_dsq_nr_queued(u64 dsq_id);
COX_KFUNC void scx_bpf_error_bstr(char *fmt, u64 *data, u32 data__sz);

/* 6.14; before it the plain clock, which is slower. */
COX_KFUNC u64 scx_bpf_now(void);

/* 6.12 dispatch → 6.13 dsq_insert → 6.19 the form that returns bool */
COX_KFUNC void scx_bpf_dispatch(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags);
COX_KFUNC void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags);
COX_KFUNC bool scx_bpf_dsq_insert___v2___new(struct task_struct *p, u64 dsq_id, u64 slice,
					     u64 enq_flags);

/* 6.12 dispatch_vtime → 6.13 dsq_insert_vtime → 6.19 packed arguments */
COX_KFUNC void scx_bpf_dispatch_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
				      u64 enq_flags);
COX_KFUNC void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
					u64 enq_flags);
COX_KFUNC bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
					  struct scx_bpf_dsq_insert_vtime_args *args);

/* 6.12 consume → 6.13 dsq_move_to_local → 7.1 the form with flags */
COX_KFUNC bool scx_bpf_consume(u64 dsq_id);
COX_KFUNC bool scx_bpf_dsq_move_to_local(u64 dsq_id);
COX_KFUNC bool scx_bpf_dsq_move_to_local___v2___new(u64 dsq_id, u64 enq_flags);

/* 6.19 peek, without a lock; before it an iterator, which takes the queue's lock */
COX_KFUNC struct task_struct *scx_bpf_dsq_peek(u64 dsq_id);
COX_KFUNC int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags);
COX_KFUNC struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it);
COX_KFUNC void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it);

/* 6.19; before it the field is written directly */
COX_KFUNC bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice);

/* Per-CPU variable of the scheduler's topology: CPUs with the same value share a cache. */
extern const int sd_llc_id __weak __ksym;

COX_INLINE u64 cox_now(void)
{
	if (bpf_ksym_exists(scx_bpf_now))
		return scx_bpf_now();
	return bpf_ktime_get_ns();
}

COX_INLINE void cox_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert___v2___new))
		scx_bpf_dsq_insert___v2___new(p, dsq_id, slice, enq_flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert))
		scx_bpf_dsq_insert(p, dsq_id, slice, enq_flags);
	else
		scx_bpf_dispatch(p, dsq_id, slice, enq_flags);
}

COX_INLINE void cox_dsq_insert_key(struct task_struct *p, u64 dsq_id, u64 slice, u64 key,
				   u64 enq_flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
			.dsq_id = dsq_id,
			.slice = slice,
			.vtime = key,
			.enq_flags = enq_flags,
		};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime)) {
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, key, enq_flags);
	} else {
		scx_bpf_dispatch_vtime(p, dsq_id, slice, key, enq_flags);
	}
}

COX_INLINE bool cox_dsq_move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___new))
		return scx_bpf_dsq_move_to_local___v2___new(dsq_id, 0);
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local))
		return scx_bpf_dsq_move_to_local(dsq_id);
	return scx_bpf_consume(dsq_id);
}

/* Key of the task at the head of a queue; false if the queue is empty. */
COX_INLINE bool cox_dsq_head_key(u64 dsq_id, u64 *key)
{
	struct task_struct *p;
	bool found = false;

	if (bpf_ksym_exists(scx_bpf_dsq_peek)) {
		p = scx_bpf_dsq_peek(dsq_id);
		if (p) {
			*key = p->scx.dsq_vtime;
			found = true;
		}
	} else {
		struct bpf_iter_scx_dsq it;

		if (!bpf_iter_scx_dsq_new(&it, dsq_id, 0)) {
			p = bpf_iter_scx_dsq_next(&it);
			if (p) {
				*key = p->scx.dsq_vtime;
				found = true;
			}
		}
		bpf_iter_scx_dsq_destroy(&it);
	}
	return found;
}

COX_INLINE void cox_task_set_slice(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

#endif
