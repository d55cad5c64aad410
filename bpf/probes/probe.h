/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every probe begins with. bcc compiles this and one probe as one text, on the host.
 *
 * A probe counts into tables and nothing else: it changes no task, sends no event, keeps no pin.
 * All its tables are bounded, and what has no room is counted as lost. Of the kernel's structures
 * it needs none, only the fields of tracepoints, which bcc reads from tracefs.
 */

#define SPREADS 6
#define SLOTS 32 /* slot n: 2^n to 2^(n+1) us; the first one holds what is shorter, too */
#define FIGURES 36 /* of a spread: its slots, then how many, their sum and the longest in ns */

/* enum task states as sched_switch tells them; 0 and 0x100 are a task that wants to go on. */
#define SLEEPS 0x01
#define WAITS_FOR_STORAGE 0x02 /* uninterruptible: mostly storage, and some locks of the kernel */
#define PREEMPTED 0x100

struct name {
	char text[16];
};

struct sum {
	u64 count;
	u64 total_ns;
};

/* The control group that is watched and its depth below the root; 0 means everybody. */
BPF_ARRAY(scope, u64, 2);
/* Threads of it. Filled when the probe begins, and from whoever leaves a CPU. */
BPF_TABLE("lru_hash", u32, u8, members, 16384);
BPF_PERCPU_ARRAY(figures, u64, SPREADS * FIGURES);
/* What found no room in a table. */
BPF_ARRAY(lost, u64, 1);

static __always_inline void lose(void)
{
	int zero = 0;
	u64 *count = lost.lookup(&zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Whether the task that runs now is watched. */
static __always_inline int mine(void)
{
	int first = 0, second = 1;
	u64 *id = scope.lookup(&first), *level = scope.lookup(&second);

	if (!id || !level)
		return 0;
	return !*id || bpf_get_current_ancestor_cgroup_id((int)*level) == *id;
}

/* Whether this thread is, as far as is known. */
static __always_inline int is_member(u32 tid)
{
	int first = 0;
	u64 *id = scope.lookup(&first);

	return tid && id && (!*id || members.lookup(&tid));
}

/* Note which group the running task belongs to; a task can be moved. */
static __always_inline int remember(u32 tid)
{
	u8 yes = 1;
	int is = mine();

	if (!tid)
		return 0;
	if (is && !members.lookup(&tid))
		members.update(&tid, &yes);
	else if (!is)
		members.delete(&tid);
	return is;
}

static __always_inline void add(int at, u64 value)
{
	u64 *figure = figures.lookup(&at);

	if (figure)
		*figure += value;
}

/* The same into a sum of a table; 0 where the table had no room for one. */
static __always_inline void add_to(struct sum *sum, u64 ns)
{
	if (!sum) {
		lose();
		return;
	}
	__sync_fetch_and_add(&sum->count, 1);
	__sync_fetch_and_add(&sum->total_ns, ns);
}

/* One time that something took, into a spread. */
static __always_inline void note(int spread, u64 ns)
{
	u64 slot = bpf_log2l(ns / 1000);
	int base = spread * FIGURES, longest = base + SLOTS + 2;
	u64 *most;

	slot = slot ? slot - 1 : 0;
	if (slot >= SLOTS)
		slot = SLOTS - 1;
	add(base + (int)slot, 1);
	add(base + SLOTS, 1);
	add(base + SLOTS + 1, ns);
	most = figures.lookup(&longest);
	if (most && *most < ns)
		*most = ns;
}
