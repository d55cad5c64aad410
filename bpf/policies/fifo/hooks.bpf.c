/* SPDX-License-Identifier: GPL-2.0-only */
/* First come, first served: the reference that every other policy has to beat. */
#include "cox/hooks.h"

const volatile u64 slice_ns = 5000000;

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return slice_ns;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
