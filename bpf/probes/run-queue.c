/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long tasks wait for a CPU that they could use: the time that a scheduler decides.
 * Spreads: 0 after a wake-up, 1 after losing the CPU, 2 everybody else's of the host.
 */
struct wait {
	u64 since_ns;
	u64 preempted;
};
BPF_HASH(waits, u32, struct wait, 16384);

static __always_inline void begin(u32 tid, u64 preempted)
{
	struct wait wait = {.since_ns = bpf_ktime_get_ns(), .preempted = preempted};

	if (tid && waits.update(&tid, &wait))
		lose();
}

int on_wakeup(struct tracepoint__sched__sched_wakeup *args)
{
	begin(args->pid, 0);
	return 0;
}

int on_wakeup_new(struct tracepoint__sched__sched_wakeup_new *args)
{
	u32 tid = args->pid;
	u8 yes = 1;

	/* Who forks is running, and its child is in the same group. */
	if (mine())
		members.update(&tid, &yes);
	begin(tid, 0);
	return 0;
}

int on_switch(struct tracepoint__sched__sched_switch *args)
{
	u32 before = args->prev_pid, after = args->next_pid;
	u64 state = args->prev_state;
	struct wait *wait;

	remember(before);
	if (!state || state == PREEMPTED)
		begin(before, 1);
	wait = waits.lookup(&after);
	if (wait) {
		u64 ns = bpf_ktime_get_ns() - wait->since_ns;

		note(is_member(after) ? (wait->preempted ? 1 : 0) : 2, ns);
		waits.delete(&after);
	}
	return 0;
}
