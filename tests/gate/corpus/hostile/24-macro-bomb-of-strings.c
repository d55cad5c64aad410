/*
 * case 24: a string bomb
 * tries: double the backslashes of a string sixty times
 * stops: source(macro)
 */
#include "cox/hooks.h"

#define S(x) #x
#define T(x) S(x)

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return sizeof(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T(T("\\")))))))))))))))))))))))))))))))))))))))))))))))))));
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
