/*
 * case 14: other facts than the frame gives
 * tries: read other facts than the frame hands over
 * stops: link(frame)
 */
#include "cox/types.h"

struct cox_task {
	u64 other[16];
};
struct cox_cpu {
	u64 now_ns;
};

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return (s64)task->other[15];
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
