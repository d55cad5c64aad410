/*
 * Words that are refused in code are fine in comments: asm, __asm__, __has_include("/etc/shadow"),
 * #embed, #include <linux/bpf.h>, _Pragma, SEC("struct_ops"), sched_ext_ops, it's and "so on.
 */
#include "cox/hooks.h"

// asm("exit"); it's fine, "really
s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return task->lag_ns /* __FILE__ */;
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
