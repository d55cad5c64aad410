/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types, cut down to the fields in use. Every access is a CO-RE relocation: the
 * loader replaces offsets by those of the running kernel, so neither order nor gaps matter here,
 * only names and field types. Sources: include/linux/sched.h, sched/ext.h, mm_types.h,
 * kernel/sched/ext*.{c,h}, Linux 6.12 to 7.3.
 */
#ifndef COX_KERNEL_H
#define COX_KERNEL_H

#include "cox/types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct cgroup;

/* Complete, since libbpf compares a kfunc's argument types by kind; never looked into. */
struct cpumask {
	unsigned long bits[1];
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct sched_ext_entity {
	u32 flags;
	u32 weight;
	u64 slice;
	u64 dsq_vtime;
};

struct mm_struct {
	unsigned long total_vm;
};

struct inode {
	unsigned short i_mode;
	s64 i_size;
};

struct file {
	unsigned int f_mode;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	unsigned int flags;
	struct sched_entity se;
	struct sched_ext_entity scx;
	int nr_cpus_allowed;
	const struct cpumask *cpus_ptr;
	unsigned short migration_disabled;
	struct mm_struct *mm;
	struct files_struct *files;
	int pid;
	int tgid;
	u64 start_time;
	struct task_struct *real_parent;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

enum scx_exit_kind {
	SCX_EXIT_NONE = 0,
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	s64 exit_code;
	const char *reason;
	char *msg;
	char *dump;
};

struct scx_init_task_args {
	bool fork;
	struct cgroup *cgroup;
};

struct scx_exit_task_args {
	bool cancelled;
};

struct scx_cgroup_init_args {
	u32 weight;
};

struct bpf_iter_scx_dsq {
	u64 __opaque[6];
} __attribute__((aligned(8)));

#pragma clang attribute pop

/* Packed arguments of kfuncs that outgrew five (6.19): passed by memory, so layout matters. */
struct scx_bpf_dsq_insert_vtime_args {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

/*
 * Only the operations in use; libbpf finds each member by name in the kernel's own struct. Members
 * that a kernel lacks (the cgroup ones without CONFIG_EXT_GROUP_SCHED) must be zeroed by
 * the loader before the load.
 */
struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	bool (*yield)(struct task_struct *from, struct task_struct *to);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*exit_task)(struct task_struct *p, struct scx_exit_task_args *args);
	void (*enable)(struct task_struct *p);
	s32 (*cgroup_init)(struct cgroup *cgrp, struct scx_cgroup_init_args *args);
	void (*cgroup_exit)(struct cgroup *cgrp);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_set_weight)(struct cgroup *cgrp, u32 weight);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	u64 flags;
	u32 timeout_ms;
	u32 exit_dump_len;
	char name[128];
};

/* include/linux/sched.h: task flags are stable in practice, but are macros, so not in BTF. */
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

/* include/linux/fs.h, include/uapi/linux/stat.h */
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define S_IFMT 0170000
#define S_IFREG 0100000

/*
 * Values here only make the compiler happy: each use goes through COX_ENUM(), which the loader
 * rewrites to the running kernel's value.
 */
enum scx_enq_flags {
	SCX_ENQ_WAKEUP = 1ULL,
	SCX_ENQ_REENQ = 1ULL << 40,
};

enum scx_dsq_id_flags {
	SCX_DSQ_LOCAL = (1ULL << 63) | 2ULL,
	SCX_DSQ_LOCAL_ON = (1ULL << 63) | (1ULL << 62),
};

enum scx_kick_flags {
	SCX_KICK_IDLE = 1,
	SCX_KICK_PREEMPT = 2,
};

enum scx_ent_flags {
	SCX_TASK_QUEUED = 1,
};

enum scx_wake_flags {
	SCX_WAKE_FORK = 4,
	SCX_WAKE_SYNC = 16,
};

/* kernel/sched/ext_internal.h; the loader masks with what the running kernel knows. */
#define COX_OPS_ENQ_EXITING (1ULL << 2)
#define COX_OPS_ENQ_MIGRATION_DISABLED (1ULL << 4) /* 6.14 */

#define COX_ENUM(type, name) ((u64)bpf_core_enum_value(enum type, name))

#endif
