/*
 * case 13: a kernel function
 * tries: call into the kernel by name
 * stops: source(attribute), proof(undefined)
 */
#include "cox/hooks.h"

extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms")));

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ({ bpf_rcu_read_lock(); 0; });
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
