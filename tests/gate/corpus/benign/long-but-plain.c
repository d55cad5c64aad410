/*
 * A hook of many cases, each short.
 */
#include "cox/hooks.h"

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	if (task->avg_run_ns < 1000)
		return 0;
	if (task->avg_run_ns < 2000)
		return 1000;
	if (task->avg_run_ns < 4000)
		return 4000;
	if (task->avg_run_ns < 8000)
		return 9000;
	if (task->avg_run_ns < 16000)
		return 16000;
	if (task->avg_run_ns < 32000)
		return 25000;
	if (task->avg_run_ns < 64000)
		return 36000;
	if (task->avg_run_ns < 128000)
		return 49000;
	if (task->avg_run_ns < 256000)
		return 64000;
	if (task->avg_run_ns < 512000)
		return 81000;
	if (task->avg_run_ns < 1024000)
		return 100000;
	if (task->avg_run_ns < 2048000)
		return 121000;
	if (task->avg_run_ns < 4096000)
		return 144000;
	if (task->avg_run_ns < 8192000)
		return 169000;
	if (task->avg_run_ns < 16384000)
		return 196000;
	if (task->avg_run_ns < 32768000)
		return 225000;
	if (task->avg_run_ns < 65536000)
		return 256000;
	if (task->avg_run_ns < 131072000)
		return 289000;
	if (task->avg_run_ns < 262144000)
		return 324000;
	if (task->avg_run_ns < 524288000)
		return 361000;
	if (task->avg_run_ns < 1048576000)
		return 400000;
	if (task->avg_run_ns < 2097152000)
		return 441000;
	if (task->avg_run_ns < 4194304000)
		return 484000;
	if (task->avg_run_ns < 8388608000)
		return 529000;
	return (s64)task->run_ns;
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
