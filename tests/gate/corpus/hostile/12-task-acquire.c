/*
 * case 12: bpf_task_acquire, a kernel function
 * tries: take references and never give them back
 * stops: proof(undefined)
 */
#include "cox/hooks.h"

struct task_struct;
extern struct task_struct *bpf_task_acquire(struct task_struct *p);

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)bpf_task_acquire((void *)task);
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
