/*
 * case 13: bpf_send_signal (109), by its number
 * tries: kill whoever runs
 * stops: proof(call)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ((long (*)(u32))109)(9);
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
