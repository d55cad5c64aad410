/*
 * case 15: an argument that calls itself trusted
 * tries: make the verifier believe that a pointer is a kernel's
 * stops: source(attribute), proof(types)
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task __attribute__((btf_decl_tag("arg:trusted"))),
	      const struct cox_cpu *cpu)
{
	return 0;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
