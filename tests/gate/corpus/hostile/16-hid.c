/*
 * case 16: another kind of struct_ops, with a link
 * tries: bring in a HID driver beside the hooks
 * stops: source(whole-scheduler), proof(whole-scheduler)
 */
#include "cox/hooks.h"

struct hid_bpf_ops {
	int hid_id;
};
__attribute__((section(".struct_ops.link"), used)) struct hid_bpf_ops own = { 1 };

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
