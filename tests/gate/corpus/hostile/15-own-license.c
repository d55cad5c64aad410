/*
 * case 15: a licence of its own
 * tries: write the object's licence, on which the kernel's GPL-only helpers depend
 * stops: source(attribute), proof(section)
 */
#include "cox/hooks.h"

__attribute__((section("license"), used)) char LICENSE[] = "Proprietary";

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
