/*
 * case 23: has_include from pieces
 * tries: learn whether a file is there
 * stops: source(macro)
 */
#include "cox/hooks.h"

#define GLUE(a, b) a##b
#if GLUE(_, _has_include)("@CANARY@")
#error it is there
#endif

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
