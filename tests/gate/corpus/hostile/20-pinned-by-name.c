/*
 * case 20: a map that is pinned by its name
 * tries: find a map again after the policy is gone, or one of somebody else
 * stops: proof(section)
 * as: object
 */
#include "cox/hooks.h"

struct {
	int (*type)[2];
	int (*max_entries)[1];
	int (*pinning)[1];
	u32 *key;
	u64 *value;
} kept __attribute__((section(".maps"), used));

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
