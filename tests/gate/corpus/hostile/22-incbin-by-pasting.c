/*
 * case 22: incbin, the word asm from pieces
 * tries: read a file of the machine that builds
 * stops: source(macro), compile(error)
 */
#include "cox/hooks.h"

#define GLUE(a, b) a##b
GLUE(as, m)(".incbin \"@CANARY@\"");

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
