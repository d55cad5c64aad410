/*
 * case 48: text that reads other than it runs
 * tries: show a person other code than the compiler sees
 * stops: source(characters)
 */
#include "cox/hooks.h"

/* ‮ } ⁦ if (is_admin) ⁩ */
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
