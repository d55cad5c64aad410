/*
 * case 10: an arena
 * tries: have memory of the size of an address space
 * stops: proof(section)
 * as: object
 */
#include "cox/hooks.h"

struct {
	int (*type)[33];
	int (*map_flags)[1 << 10];
	int (*max_entries)[1 << 20];
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
