/*
 * case 19: a work queue, a kernel function
 * tries: run again later, without being asked
 * stops: proof(undefined)
 */
#include "cox/hooks.h"

extern int bpf_wq_start(void *wq, unsigned int flags);

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return bpf_wq_start((void *)task, 0);
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
