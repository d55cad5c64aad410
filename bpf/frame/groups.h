/* SPDX-License-Identifier: GPL-2.0-only */
/* cpu.weight: proportional shares between cgroups, level by level. */
#ifndef COX_FRAME_GROUPS_H
#define COX_FRAME_GROUPS_H

#include "state.h"

/*
 * How far the task's cgroup is behind the most-served of its siblings, level by level, as a
 * negative offset in ns. Adding it to the clock makes shares proportional to weights: with lags
 * D apart and slices s, weights 1:r settle at D = (r + 1) s, so D <= window bounds r.
 */
__attribute__((noinline)) s64 cox_group_offset(u32 slot)
{
	s64 window = frame_group_window_ns;
	s64 offset = 0;
	int depth;

	for (depth = 0; depth < COX_GROUP_DEPTH && slot; depth++) {
		struct group *group = group_of(slot);
		struct group *parent;
		s64 lag;

		if (!group)
			break;
		slot = group->parent;
		parent = group_of(slot);
		if (!parent)
			break;
		lag = group->vtime - parent->level_vtime;
		if (lag < -window) {
			/* It slept: it does not save up more than a window. */
			group->vtime = parent->level_vtime - window;
			lag = -window;
		}
		if (lag < 0)
			offset += lag;
	}
	return offset < -window ? -window : offset;
}

__attribute__((noinline)) int cox_group_charge(u32 slot, u64 ran)
{
	int depth;

	for (depth = 0; depth < COX_GROUP_DEPTH && slot; depth++) {
		struct group *group = group_of(slot);
		struct group *parent;
		u64 vtime;

		if (!group)
			break;
		vtime = __sync_fetch_and_add(&group->vtime, ran * 100 / (group->weight ?: 1));
		vtime += ran * 100 / (group->weight ?: 1);
		slot = group->parent;
		parent = group_of(slot);
		if (!parent)
			break;
		if ((s64)(vtime - parent->level_vtime) > 0)
			parent->level_vtime = vtime;
	}
	return 0;
}

COX_INLINE u32 slot_of_cgroup(struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;
	u32 *slot = bpf_map_lookup_elem(&cox_group_slots, &id);

	return slot ? *slot : 0;
}

#endif
