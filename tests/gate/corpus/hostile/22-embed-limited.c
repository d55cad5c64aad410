/*
 * case 22: embed with parameters, as a hook's table
 * tries: read a file of the machine that builds
 * stops: source(directive), compile(error|failed)
 */
static const volatile unsigned char file[8] = {
#embed "@CANARY@" limit(8) if_empty(0)
};
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return file[task->pages & 7];
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
