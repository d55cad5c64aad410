/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes, and what a manifest may set of the frame. */
#ifndef COX_FRAME_TUNABLES_H
#define COX_FRAME_TUNABLES_H

#include "cox/types.h"

#define COX_MAX_CPUS 1024 /* a power of two: indices are masked, which the verifier can follow */
#define COX_CPU_MASK (COX_MAX_CPUS - 1)
#define COX_MAX_GROUPS 1024 /* slot 0 is the root cgroup */
#define COX_GROUP_DEPTH 8
#define COX_DOMAIN_CLOCKS 16 /* LLCs with a vtime of their own; more share */
#define COX_MAX_FAMILIES 4096
#define COX_INPUT_LOOKS 4   /* slices after which a task's open files are looked at */
#define COX_INPUT_FILES 8   /* descriptors looked at */
#define COX_STEAL_SCAN 32   /* foreign queues looked at by a CPU that runs dry */
#define COX_PREEMPT_SCAN 8  /* CPUs a waking task may ask for */
#define COX_DSQ_SHARED 0x10000ULL /* ids of CPU queues are CPU numbers, below this */

/* Tunables of the frame, set by the loader before the load. The manifest may narrow them. */

/* How far a hook can move a task in time, ns. */
const volatile u64 frame_window_ns = 50 * NSEC_PER_MSEC;
/* How far an under-served cgroup can be moved forward in time, ns; caps the weight ratio. */
const volatile u64 frame_group_window_ns = 100 * NSEC_PER_MSEC;
/* Limits of a slice, ns. Expiry is noticed at a timer tick (1/CONFIG_HZ). */
const volatile u64 frame_slice_min_ns = 500 * NSEC_PER_USEC;
const volatile u64 frame_slice_max_ns = 20 * NSEC_PER_MSEC;
/* Slices shrink so that one turn of a whole queue takes about this long, ns. */
const volatile u64 frame_cycle_ns = 1 * NSEC_PER_SEC;
/* Least time between two preemptions of one CPU, ns. */
const volatile u64 frame_preempt_gap_ns = 100 * NSEC_PER_USEC;

#endif
