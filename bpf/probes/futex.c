/* SPDX-License-Identifier: GPL-2.0-only */
/* How long threads wait for each other, in futex(2). Spread 0: a wait. By name: who waited. */
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_LOCK_PI2 13
#define OPERATION 0x7f /* without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME */

BPF_HASH(since, u32, u64, 16384);
BPF_HASH(by_name, struct name, struct sum, 512);

int on_enter(struct tracepoint__syscalls__sys_enter_futex *args)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	u64 now_ns = bpf_ktime_get_ns();
	int operation = (int)args->op & OPERATION;

	if (operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET &&
	    operation != FUTEX_LOCK_PI && operation != FUTEX_LOCK_PI2 &&
	    operation != FUTEX_WAIT_REQUEUE_PI)
		return 0;
	if (mine() && since.update(&tid, &now_ns))
		lose();
	return 0;
}

int on_exit(struct tracepoint__syscalls__sys_exit_futex *args)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	u64 *began_ns = since.lookup(&tid);
	struct name name = {};
	struct sum *sum, nothing = {};
	u64 ns;

	if (!began_ns)
		return 0;
	ns = bpf_ktime_get_ns() - *began_ns;
	note(0, ns);
	bpf_get_current_comm(&name.text, sizeof(name.text));
	sum = by_name.lookup_or_try_init(&name, &nothing);
	add_to(sum, ns);
	since.delete(&tid);
	return 0;
}
