/*
 * Everything on few lines, names without letters' mercy, octal and character constants.
 */
#include "cox/hooks.h"
s64 cox_rank(t,c)const struct cox_task*t;const struct cox_cpu*c;{return t->run_ns-'\x41'+0777;}
u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu){return 1e6;}u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu){(void)task;return!cpu->idle;}
u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu){return task->flags&COX_TASK_KTHREAD&&!(cpu->running.flags&COX_TASK_KTHREAD);}
