/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waits for storage. Spread 0: uninterruptible sleeps of those watched, until they are woken;
 * 1: requests of the whole host to its block devices, from issue to completion. By name: who slept.
 */
struct request {
	u64 device;
	u64 sector;
};
BPF_HASH(since, u32, u64, 16384);
BPF_HASH(issued, struct request, u64, 4096);
BPF_HASH(by_name, struct name, struct sum, 512);

int on_switch(struct tracepoint__sched__sched_switch *args)
{
	u32 before = args->prev_pid;
	u64 now_ns = bpf_ktime_get_ns();

	if (remember(before) && (args->prev_state & WAITS_FOR_STORAGE) &&
	    since.update(&before, &now_ns))
		lose();
	return 0;
}

int on_waking(struct tracepoint__sched__sched_waking *args)
{
	u32 tid = args->pid;
	u64 *began_ns = since.lookup(&tid);
	struct name name = {};
	struct sum *sum, nothing = {};
	u64 ns;

	if (!began_ns)
		return 0;
	ns = bpf_ktime_get_ns() - *began_ns;
	note(0, ns);
	bpf_probe_read_kernel(&name.text, sizeof(name.text), args->comm);
	sum = by_name.lookup_or_try_init(&name, &nothing);
	add_to(sum, ns);
	since.delete(&tid);
	return 0;
}

int on_issue(struct tracepoint__block__block_rq_issue *args)
{
	struct request request = {.device = args->dev, .sector = args->sector};
	u64 now_ns = bpf_ktime_get_ns();

	if (issued.update(&request, &now_ns))
		lose();
	return 0;
}

int on_complete(struct tracepoint__block__block_rq_complete *args)
{
	struct request request = {.device = args->dev, .sector = args->sector};
	u64 *began_ns = issued.lookup(&request);

	if (began_ns) {
		note(1, bpf_ktime_get_ns() - *began_ns);
		issued.delete(&request);
	}
	return 0;
}
