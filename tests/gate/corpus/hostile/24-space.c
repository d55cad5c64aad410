/*
 * case 24: a gigabyte of nothing
 * tries: write a gigabyte of object, by the assembler
 * stops: source(word), compile(error)
 */
#include "cox/hooks.h"

asm(".space 1 << 30");

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
