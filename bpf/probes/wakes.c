/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who wakes whom, by name, and how long the woken then wait for a CPU. Spread 0: those waits.
 * An interrupt wakes in the name of the task that it has interrupted; on an idle CPU that is
 * called "idle". `sched_waking` runs where the waker runs, `sched_wakeup` perhaps elsewhere.
 */
struct edge {
	struct name waker;
	struct name woken;
};
struct pending {
	u64 since_ns;
	struct edge edge;
};
BPF_HASH(edges, struct edge, struct sum, 1024);
BPF_HASH(woken, u32, struct pending, 16384);

int on_waking(struct tracepoint__sched__sched_waking *args)
{
	u32 tid = args->pid;
	u32 waker = (u32)bpf_get_current_pid_tgid();
	struct pending pending = {};

	if (!is_member(tid) && !(waker && mine()))
		return 0;
	pending.since_ns = bpf_ktime_get_ns();
	if (waker)
		bpf_get_current_comm(&pending.edge.waker.text, sizeof(pending.edge.waker.text));
	else
		__builtin_memcpy(pending.edge.waker.text, "idle", 4);
	bpf_probe_read_kernel(&pending.edge.woken.text, sizeof(pending.edge.woken.text), args->comm);
	if (woken.update(&tid, &pending))
		lose();
	return 0;
}

int on_switch(struct tracepoint__sched__sched_switch *args)
{
	u32 before = args->prev_pid, after = args->next_pid;
	struct pending *pending;
	struct sum *sum, nothing = {};

	remember(before);
	pending = woken.lookup(&after);
	if (pending) {
		u64 ns = bpf_ktime_get_ns() - pending->since_ns;

		note(0, ns);
		sum = edges.lookup_or_try_init(&pending->edge, &nothing);
		add_to(sum, ns);
		woken.delete(&after);
	}
	return 0;
}
