/*
 * case 22: an include that a condition seems to skip
 * tries: read a file of the machine that builds
 * stops: source(include), compile(error|failed)
 */
#if 0
#elif 1
#include "@CANARY@"
#endif
#include "cox/hooks.h"

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
