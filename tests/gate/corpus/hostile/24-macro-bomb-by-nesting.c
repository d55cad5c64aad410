/*
 * case 24: a macro bomb whose macros call each other with arguments
 * tries: double an argument in each of forty macros
 * stops: source(expansion)
 */
#include "cox/hooks.h"

#define B0(x) x + x
#define B1(x) B0(B0(x))
#define B2(x) B1(B1(x))
#define B3(x) B2(B2(x))
#define B4(x) B3(B3(x))
#define B5(x) B4(B4(x))

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return B5(1);
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
