/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the time of tasks goes, from one switch to the next. Spreads: 0 on a CPU, 1 off it to
 * sleep, 2 off it for storage, 3 off it because another one was chosen. By name: time on a CPU.
 */
struct switched {
	u64 at_ns;
	u64 spread;
};
BPF_HASH(since, u32, struct switched, 16384);
BPF_HASH(by_name, struct name, struct sum, 512);

static __always_inline void mark(u32 tid, u64 at_ns, u64 spread)
{
	struct switched now = {.at_ns = at_ns, .spread = spread};

	if (tid && since.update(&tid, &now))
		lose();
}

int on_switch(struct tracepoint__sched__sched_switch *args)
{
	u32 before = args->prev_pid, after = args->next_pid;
	u64 state = args->prev_state, now_ns = bpf_ktime_get_ns();
	struct switched *last;
	struct name name = {};
	struct sum *sum, nothing = {};

	if (remember(before)) {
		last = since.lookup(&before);
		if (last && !last->spread) {
			u64 ns = now_ns - last->at_ns;

			note(0, ns);
			bpf_probe_read_kernel(&name.text, sizeof(name.text), args->prev_comm);
			sum = by_name.lookup_or_try_init(&name, &nothing);
			add_to(sum, ns);
		}
		if (state & WAITS_FOR_STORAGE)
			mark(before, now_ns, 2);
		else if (!state || state == PREEMPTED)
			mark(before, now_ns, 3);
		else if (state & SLEEPS)
			mark(before, now_ns, 1);
		else
			since.delete(&before); /* it is dying, or stopped */
	}
	if (is_member(after)) {
		last = since.lookup(&after);
		if (last && last->spread)
			note((int)last->spread & 3, now_ns - last->at_ns);
		mark(after, now_ns, 0);
	}
	return 0;
}
