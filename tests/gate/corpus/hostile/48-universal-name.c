/*
 * case 48: a name by universal character names
 * tries: name two things so that a person takes them for one
 * stops: source(spelling)
 */
#include "cox/hooks.h"

static const u64 c\u043ex = 1;
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
