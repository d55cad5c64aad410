/*
 * case 23: a pragma that names sections
 * tries: put hooks into a program's section
 * stops: source(directive), proof(section)
 */
#include "cox/hooks.h"

#pragma clang section text="syscall"
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
