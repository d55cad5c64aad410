/*
 * case 14: bpf_probe_read_user (112), by its number
 * tries: read the memory of whoever runs
 * stops: proof(call)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ({ u64 got = 0; ((long (*)(void *, u32, u64))112)(&got, 8, task->pages); (s64)got; });
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
