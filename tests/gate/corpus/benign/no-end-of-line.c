/*
 * No line's end at the end, blanks at the ends of lines, and empty lines first.
 */



#include "cox/hooks.h"
	 
s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return 0  ;
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