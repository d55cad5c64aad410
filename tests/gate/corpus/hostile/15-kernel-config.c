/*
 * case 15: a weak external of the kernel's configuration
 * tries: have the loader put in values of /proc/config.gz
 * stops: source(attribute), proof(undefined)
 */
#include "cox/hooks.h"

extern const int CONFIG_HZ __attribute__((section(".kconfig"), weak));

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return CONFIG_HZ;
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
