/*
 * case 24: a macro bomb that hides its calls
 * tries: call a macro by another macro's name
 * stops: source(macro)
 */
#include "cox/hooks.h"

#define D(x) x + x
#define E D

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(E(1))))))))))))))))))))))))))))));
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
