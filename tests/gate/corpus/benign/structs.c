/*
 * Structures, unions, bit fields and initialisers of one's own, by value.
 */
#include "cox/hooks.h"

struct view {
	u64 run_ns;
	u32 short_one : 1;
	u32 heavy : 1;
};

COX_INLINE struct view look(const struct cox_task *task)
{
	return (struct view){
		.run_ns = task->run_ns,
		.short_one = task->avg_run_ns < NSEC_PER_MSEC,
		.heavy = task->weight > 1000,
	};
}

_Static_assert(sizeof(struct view) == 16, "two words");

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	struct view view = look(task);

	if (view.short_one)
		return view.heavy ? -2000000 : -1000000;
	return (s64)view.run_ns;
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 5000000;
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return COX_PLACE_SHARED;
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0;
}
