/* SPDX-License-Identifier: GPL-2.0-only */
/* What user space reads from a loaded frame: counters, exit record, histogram of waits. */
#ifndef COX_ABI_H
#define COX_ABI_H

#include "cox/types.h"

/*
 * Per-CPU event counters. User space adds them up over CPUs, except names ending in _MAX_NS, of
 * which it takes the maximum.
 */
enum cox_counter {
	COX_COUNTER_RUNS,             /* times a task got a CPU after waiting */
	COX_COUNTER_WAIT_NS,          /* sum of the waits before that */
	COX_COUNTER_WAIT_MAX_NS,      /* the longest of them */
	COX_COUNTER_DIRECT,           /* put straight onto an idle CPU */
	COX_COUNTER_ENQUEUE_SHARED,   /* queued for all CPUs of an LLC */
	COX_COUNTER_ENQUEUE_CPU,      /* queued for one CPU */
	COX_COUNTER_KEEPS,            /* slice renewed without leaving the CPU */
	COX_COUNTER_DISPATCH_SHARED,  /* taken from the shared queue */
	COX_COUNTER_DISPATCH_CPU,     /* taken from the CPU's own queue */
	COX_COUNTER_STEALS,           /* taken from another CPU's or LLC's queue */
	COX_COUNTER_PREEMPTIONS,      /* a waking task took a CPU from another */
	COX_COUNTER_PREEMPT_TOO_SOON, /* not allowed: too close to the last one on that CPU */
	COX_COUNTER_PREEMPT_OUTRANKED, /* not allowed: the running task was due first */
	COX_COUNTER_RANK_CLAMPED,     /* a hook's rank was outside the window */
	COX_COUNTER_SLICE_CLAMPED,    /* a hook's slice was outside the limits */
	COX_COUNTER_YIELDS,
	COX_COUNTER_GROUPS_UNTRACKED, /* cgroups beyond the table; their weight is not honoured */
	COX_COUNTER_STATELESS,        /* task without state, scheduled plainly */
	COX_COUNTER_NR,
};

#define COX_REASON_LEN 128
#define COX_MSG_LEN 1024
#define COX_DUMP_LEN 32768

/* Why the scheduler left; filled by the frame's exit operation, in section .data.exit. */
struct cox_exit_record {
	s32 kind;     /* enum scx_exit_kind of the running kernel */
	u32 recorded; /* 1 once the rest is complete */
	s64 exit_code;
	char reason[COX_REASON_LEN];
	char msg[COX_MSG_LEN];
};

/* Bucket i counts waits in [2^i, 2^(i+1)) us; bucket 0 also those below 1 us. */
#define COX_WAIT_BUCKETS 40

#endif
