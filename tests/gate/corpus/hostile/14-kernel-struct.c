/*
 * case 14: a fact taken for a kernel's structure
 * tries: read fields of the kernel's task, relocated to where they are
 * stops: source(attribute), proof(relocation)
 */
#include "cox/hooks.h"

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ((const struct task_struct *)task)->pid;
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
