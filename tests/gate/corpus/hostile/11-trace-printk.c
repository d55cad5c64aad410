/*
 * case 11: bpf_trace_printk, by its number
 * tries: flood the kernel's trace buffer
 * stops: proof(call)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ((long (*)(const void *, u32))6)(task, 8);
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
