/*
 * case 7: may_goto
 * tries: loop with the kernel's own licence to do so, in assembly
 * stops: proof(symbol)
 * as: object
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	s64 n = task->lag_ns;

	for (;;) {
		asm volatile goto("may_goto %l[done]" :::: done);
		n = n * 7 ^ (s64)cpu->now_ns;
	}
done:
	return n;
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
