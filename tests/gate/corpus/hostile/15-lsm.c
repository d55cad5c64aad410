/*
 * case 15: a hidden program: lsm/file_open
 * tries: bring in a program of section lsm/file_open beside the hooks
 * stops: source(attribute), proof(section)
 */
#include "cox/hooks.h"

__attribute__((section("lsm/file_open"), used)) int hidden(void *ctx)
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
