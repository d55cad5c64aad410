/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole world of a hook: what it may know, what it may answer. See docs/frame.md.
 *
 * A hook is a pure function of its two arguments and of its parameters (`const volatile`
 * globals declared in policy.toml). It calls nothing, stores nothing but its own stack, and has
 * no backward jump. The gate proves this on the bytecode.
 */
#ifndef COX_HOOKS_H
#define COX_HOOKS_H

#include "cox/types.h"

/* Why the task wants a CPU now. */
enum cox_reason {
	COX_REASON_WAKE = 0,      /* it slept and was woken */
	COX_REASON_FORK = 1,      /* it was just created */
	COX_REASON_EXPIRED = 2,   /* it used up its slice and wants more */
	COX_REASON_YIELD = 3,     /* it called sched_yield() */
	COX_REASON_PREEMPTED = 4, /* it lost the CPU before its slice was used up */
	COX_REASON_OTHER = 5,     /* re-queued by the kernel: affinity, cgroup, priority change */
};

enum cox_task_flags {
	COX_TASK_KTHREAD = 1 << 0, /* a kernel thread */
	COX_TASK_PINNED = 1 << 1,  /* may run on one CPU only */
	COX_TASK_EXITING = 1 << 2, /* on its way out */
	COX_TASK_SYNC = 1 << 3,    /* the waker said that it is about to sleep */
};

/* Where a task waits if it cannot run at once. */
enum cox_place {
	COX_PLACE_SHARED = 0, /* an idle CPU, else the queue that all CPUs of the LLC serve */
	COX_PLACE_CPU = 1,    /* an idle CPU, else the queue of the CPU it ran on last */
};

/*
 * Facts of a task. Times in ns. "avg" is an exponential average with weight 1/4 for the newest.
 * Behaviour only: names, users and command lines are left out on purpose.
 */
struct cox_task {
	u64 attained_ns;      /* CPU time since it was created (or since the policy was loaded) */
	u64 age_ns;           /* time since it was created */
	u64 run_ns;           /* CPU time since it last woke */
	u64 avg_run_ns;       /* CPU time between two sleeps */
	u64 avg_sleep_ns;     /* length of its sleeps */
	u64 last_wait_ns;     /* how long it waited for a CPU the last time */
	s64 lag_ns;           /* weighted CPU time above (> 0) or below its fair share, see frame */
	u64 wakeups;          /* times it was woken */
	u64 wakes;            /* times it woke another */
	u64 pages;            /* address space in pages; 0 for kernel threads */
	u64 input_bytes;      /* largest file among those it reads from, known after its first slice */
	u64 family_run_ns;    /* avg CPU time of its parent's children that have exited */
	u64 family_pages;     /* avg of pages over its parent's children, as seen running */
	u64 family_input;     /* avg of input_bytes over its parent's children, likewise */
	u32 family_exits;     /* how many of them have exited */
	u32 weight;           /* nice as a weight, 1..10000, nice 0 = 100 */
	u32 reason;           /* enum cox_reason */
	u32 flags;            /* enum cox_task_flags */
};

/* Facts of what runs on a CPU; all zero if that is nothing of ours. */
struct cox_running {
	u64 stint_ns;    /* since it got the CPU */
	u64 run_ns;      /* CPU time since it last woke */
	u64 avg_run_ns;
	u64 attained_ns; /* CPU time since it was created */
	u64 wakes;
	u32 weight;
	u32 flags;
};

/* Facts of a CPU: for rank, slice and place the task's own, for preempt the one in question. */
struct cox_cpu {
	u64 now_ns;
	u32 cpu;
	u32 nr_queued; /* waiting in this CPU's own queue */
	u32 nr_shared; /* waiting in the queue it shares with its LLC */
	u32 idle;      /* 1 if nothing of ours runs there */
	struct cox_running running;
};

/*
 * Order: offset in ns to the task's place in time. Of two tasks queued at the same moment, the
 * lower offset runs first. The frame clamps it to +-frame_window_ns.
 */
s64 cox_rank(const struct cox_task *task COX_NONNULL, const struct cox_cpu *cpu COX_NONNULL);

/* How long it may run before the next decision, ns; clamped to frame_slice_{min,max}_ns. */
u64 cox_slice(const struct cox_task *task COX_NONNULL, const struct cox_cpu *cpu COX_NONNULL);

/* Where it waits: enum cox_place. */
u32 cox_place(const struct cox_task *task COX_NONNULL, const struct cox_cpu *cpu COX_NONNULL);

/* May this task, just woken, take the CPU from what runs there? 0 or 1. */
u32 cox_preempt(const struct cox_task *task COX_NONNULL, const struct cox_cpu *cpu COX_NONNULL);

#endif
