/*
 * case 10: a map that user space can map
 * tries: share memory with user space
 * stops: proof(section)
 * as: object
 */
#include "cox/hooks.h"

struct {
	int (*type)[2];
	int (*map_flags)[1 << 10];
	int (*max_entries)[1];
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
