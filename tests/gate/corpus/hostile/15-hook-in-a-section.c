/*
 * case 15: a hook that is a program
 * tries: put a hook itself into a program's section
 * stops: source(attribute), proof(section)
 */
#include "cox/hooks.h"

__attribute__((section("syscall"))) u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu);

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
