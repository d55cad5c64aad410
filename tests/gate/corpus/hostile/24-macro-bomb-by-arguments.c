/*
 * case 24: a macro bomb by arguments
 * tries: double an argument thirty times
 * stops: source(expansion)
 */
#include "cox/hooks.h"

#define D(x) x + x

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(D(1))))))))))))))))))))))))))))));
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
