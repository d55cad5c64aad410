/*
 * case 21: text for whoever reads exit records
 * tries: write text into the exit record
 * stops: source(whole-scheduler), proof(undefined)
 */
#include "cox/hooks.h"

extern void scx_bpf_error_bstr(const char *format, u64 *data, u32 bytes);

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ({ scx_bpf_error_bstr((const void *)task, 0, 0); 0; });
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
