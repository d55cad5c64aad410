/*
 * case 22: an include that a raw string hides
 * tries: read a file of the machine that builds
 * stops: source(spelling), compile(error|failed)
 */
static const char *text = R"x(/*)x";
#include "@CANARY@"
/* )x"; */
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
