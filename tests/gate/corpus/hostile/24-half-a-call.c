/*
 * case 24: a call that a condition closes
 * tries: close a macro's call where the compiler does not see it
 * stops: source(directive)
 */
#include "cox/hooks.h"

#define D(x) x + x

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return D(1
#if 0
)
#endif
);
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
