/*
 * case 20: a map, written in source
 * tries: keep something from one call to the next
 * stops: source(attribute), proof(section)
 */
#include "cox/hooks.h"

struct {
	int (*type)[2];
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
