/*
 * case 15: a setting of the frame
 * tries: change the frame's window
 * stops: proof(parameter)
 */
#include "cox/hooks.h"

const volatile u64 frame_window_ns = 1;

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
