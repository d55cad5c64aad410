/* SPDX-License-Identifier: GPL-2.0-only */
/* Keeping the facts that hooks see. */
#ifndef COX_FRAME_FACTS_H
#define COX_FRAME_FACTS_H

#include "groups.h"
#include "state.h"

/* Account what the task has run since it was last accounted. */
COX_INLINE void charge(struct task_struct *p, struct task_state *t, u64 now)
{
	u64 ran = elapsed(now, t->charged_at);
	u32 weight = p->scx.weight ?: 1;
	struct group *group = group_of(t->lag_group);

	t->charged_at = now;
	t->facts.attained_ns += ran;
	t->facts.run_ns += ran;
	t->vtime += ran * 100 / weight;
	if (group) {
		u64 *most = &group->task_vtime[t->lag_domain % COX_DOMAIN_CLOCKS];

		if ((s64)(t->vtime - *most) > 0)
			*most = t->vtime;
	}
	if (t->group)
		cox_group_charge(t->group, ran);
}

/* The task woke up: close the books of its sleep. */
COX_INLINE void note_wake(struct task_state *t, u64 now)
{
	if (!t->slept_at)
		return;
	t->facts.avg_sleep_ns = average(t->facts.avg_sleep_ns, elapsed(now, t->slept_at));
	t->facts.wakeups++;
	t->facts.run_ns = 0;
	t->slept_at = 0;
}

/*
 * Measure the task's vtime against the most-served task of its cgroup on its LLC: between
 * cgroups their weights decide. Moving elsewhere it takes its lag along; sleepers save up
 * one window.
 */
COX_INLINE void settle_lag(struct task_state *t, u32 cpu)
{
	u32 domain = domain_of(cpu);
	struct group *old = group_of(t->lag_group);
	struct group *group = group_of(t->group);
	s64 window = frame_window_ns;
	s64 lag;

	if (!old || !group)
		return;
	lag = t->vtime - old->task_vtime[t->lag_domain % COX_DOMAIN_CLOCKS];
	lag = cox_clamp_s64(lag, -window, window);
	t->vtime = group->task_vtime[domain % COX_DOMAIN_CLOCKS] + lag;
	t->lag_group = t->group;
	t->lag_domain = domain;
	t->facts.lag_ns = lag;
}

/*
 * Size of the largest regular file that the task holds open to read only, among its first
 * descriptors: how much there is to do, for what works through its input. The table may change
 * under us; probe reads survive that, and a wrong size is only a wrong hint.
 */
static __attribute__((noinline)) u64 largest_input(struct files_struct *files)
{
	struct fdtable *table = files ? files->fdt : NULL;
	struct file **fds = table ? table->fd : NULL;
	u32 count = table ? table->max_fds : 0;
	u64 largest = 0;
	u32 i;

	if (!fds)
		return 0;
	for (i = 0; i < COX_INPUT_FILES; i++) {
		struct inode *inode = NULL;
		struct file *file = NULL;
		unsigned short kind = 0;
		unsigned int mode = 0;
		s64 size = 0;

		if (i >= count)
			break;
		bpf_probe_read_kernel(&file, sizeof(file), fds + i);
		if (!file)
			continue;
		bpf_probe_read_kernel(&mode, sizeof(mode), &file->f_mode);
		if ((mode & (FMODE_READ | FMODE_WRITE)) != FMODE_READ)
			continue;
		bpf_probe_read_kernel(&inode, sizeof(inode), &file->f_inode);
		bpf_probe_read_kernel(&kind, sizeof(kind), &inode->i_mode);
		bpf_probe_read_kernel(&size, sizeof(size), &inode->i_size);
		if ((kind & S_IFMT) == S_IFREG && size > (s64)largest)
			largest = size;
	}
	return largest;
}

/* What its parent's children are like, this one among them. */
COX_INLINE void compare_with_family(struct task_struct *p, struct task_state *t, u32 reason)
{
	struct family *family;

	if (!t->family)
		t->family = p->real_parent->tgid;
	if (!t->family)
		return;
	family = bpf_map_lookup_elem(&cox_families, &t->family);
	if (!family) {
		struct family fresh = { .pages = t->facts.pages, .input = t->facts.input_bytes };

		bpf_map_update_elem(&cox_families, &t->family, &fresh, BPF_ANY);
		return;
	}
	if (reason == COX_REASON_EXPIRED && t->input_looks < COX_INPUT_LOOKS) {
		t->input_looks++;
		t->facts.input_bytes = largest_input(p->files);
		family->pages = average(family->pages, t->facts.pages);
		family->input = family->input ? average(family->input, t->facts.input_bytes)
					      : t->facts.input_bytes;
	}
	t->facts.family_run_ns = family->run_ns;
	t->facts.family_pages = family->pages;
	t->facts.family_input = family->input;
	t->facts.family_exits = family->exits;
}

COX_INLINE void refresh_facts(struct task_struct *p, struct task_state *t, u32 cpu, u64 now,
			      u32 reason)
{
	struct mm_struct *mm = p->mm;
	u32 flags = t->facts.flags & COX_TASK_SYNC;

	if (p->flags & PF_KTHREAD)
		flags |= COX_TASK_KTHREAD;
	if (p->flags & PF_EXITING)
		flags |= COX_TASK_EXITING;
	if (p->nr_cpus_allowed == 1)
		flags |= COX_TASK_PINNED;
	t->facts.flags = flags;
	t->facts.weight = p->scx.weight;
	t->facts.reason = reason;
	t->facts.age_ns = elapsed(now, t->created_at);
	settle_lag(t, cpu);
	if (reason == COX_REASON_WAKE || !mm)
		return; /* the rest changes slowly and costs more to look up */
	t->facts.pages = mm->total_vm;
	compare_with_family(p, t, reason);
}

#endif
