/*
 * case 15: a hidden program: ?fentry/schedule
 * tries: bring in a program of section ?fentry/schedule beside the hooks
 * stops: source(attribute), proof(section)
 */
#include "cox/hooks.h"

__attribute__((section("?fentry/schedule"), used)) int hidden(void *ctx)
{
	return 0;
}

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
