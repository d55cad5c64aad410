/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched_ext's core in small, around the frame's own C: its operations run here as they stand,
 * natively, in virtual time. What is imitated is what the kernel does between two operations
 * (kernel/sched/ext.c, Linux 7.3: wake-up, dispatch, put and pick, ticks, kicks). Events are
 * atomic, time is exact, a slice ends to the nanosecond.
 *
 * The tests beside it drive it by ctypes. Whatever the real kernel would answer with an error
 * is told by `failure`.
 */
#define COX_BPF_H /* in place of cox/bpf.h: the same names, for a process */
#include "cox/types.h"

#define SEC(name) __attribute__((used))
#define __weak __attribute__((weak))
#define __ksym
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1
#define BPF_ANY 0
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define bpf_ksym_exists(symbol) (!!(symbol))
#define bpf_core_field_exists(field) 1
#define bpf_core_enum_value(type, value) (value)
#define COX_ARG(ctx, index, type) ((type)(ctx)[index])

struct bpf_iter_num {
	int at, end;
};

static int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end)
{
	it->at = start - 1;
	it->end = end;
	return 0;
}

static int *bpf_iter_num_next(struct bpf_iter_num *it)
{
	return ++it->at < it->end ? &it->at : NULL;
}

static void bpf_iter_num_destroy(struct bpf_iter_num *it)
{
}

static void *bpf_map_lookup_elem(void *map, const void *key);
static void *bpf_task_storage_get(void *map, void *task, void *value, u64 flags);
static u32 bpf_get_smp_processor_id(void);
static void *bpf_per_cpu_ptr(const void *percpu_ptr, u32 cpu);

static long bpf_map_update_elem(void *map, const void *key, const void *value, u64 flags)
{
	return 0;
}

static long bpf_map_delete_elem(void *map, const void *key)
{
	return 0;
}

static u64 bpf_ktime_get_ns(void)
{
	return 0;
}

static long bpf_probe_read_kernel(void *dst, u32 size, const void *src)
{
	return -1;
}

static long bpf_probe_read_kernel_str(void *dst, u32 size, const void *src)
{
	return -1;
}

/* Settings are the loader's to write, and here the test's. */
#define const
#include "tunables.h"
#undef const
#include "frame.bpf.c"

/* --- what there is -------------------------------------------------------------------- */

#define CPUS 8
#define TASKS 64
#define DEFAULT_SLICE_NS (20 * NSEC_PER_MSEC) /* SCX_SLICE_DFL */
#define LOCAL_DSQ ((u64)SCX_DSQ_LOCAL_ON)     /* + CPU */
#define NOWHERE (~0ULL)

enum status { ABSENT, ASLEEP, QUEUED, RUNNING };

struct task {
	struct task_struct p; /* first: the kernel's pointer is ours */
	struct task_state state;
	enum status status;
	u64 allowed; /* CPUs, as bits */
	s32 cpu;
	u64 dsq;
	s64 place; /* in a local queue */
	u64 waits_since, longest_wait, turn_since, longest_turn, ran, idle_beside;
	u32 taken; /* it lost its CPU to a task that woke */
};

static struct task tasks[TASKS];
static struct task *current[CPUS];
static bool idle[CPUS], kicked[CPUS];
static int llc[CPUS];
static s32 here; /* the CPU that executes */
static s64 places;
static struct group groups[COX_MAX_GROUPS];
static struct cpu_state cpu_states[CPUS];

u64 now_ns, counters[COX_COUNTER_NR], waits[COX_WAIT_BUCKETS];
u64 idle_beside_ns; /* the longest that a CPU idled beside a waiting task it could have run */
const char *failure;
u64 (*adversary)(u32 hook, u32 task, u64 now);

extern const int sd_llc_id __weak;
const int sd_llc_id;

static void fail(const char *what)
{
	if (!failure)
		failure = what;
}

static bool may_run(const struct task *t, s32 cpu)
{
	if (t->p.migration_disabled && t->cpu != cpu)
		return false;
	return t->allowed >> cpu & 1;
}

/* --- hooks ---------------------------------------------------------------------------- */

static u64 ask(u32 hook, const struct cox_task *facts)
{
	const struct task_state *state = (const void *)facts; /* its first member */
	const char *task = (const char *)state - __builtin_offsetof(struct task, state);

	return adversary(hook, (const struct task *)task - tasks, now_ns);
}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ask(0, task);
}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ask(1, task);
}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ask(2, task);
}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{
	return ask(3, task);
}

/* --- helpers and kfuncs --------------------------------------------------------------- */

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	u32 index = *(const u32 *)key;

	if (map == &cox_cpus)
		return index < CPUS ? &cpu_states[index] : NULL;
	if (map == &cox_groups)
		return index < COX_MAX_GROUPS ? &groups[index] : NULL;
	if (map == &cox_counters)
		return index < COX_COUNTER_NR ? &counters[index] : NULL;
	if (map == &cox_wait_hist)
		return index < COX_WAIT_BUCKETS ? &waits[index] : NULL;
	return NULL;
}

static void *bpf_task_storage_get(void *map, void *task, void *value, u64 flags)
{
	return &((struct task *)task)->state;
}

static u32 bpf_get_smp_processor_id(void)
{
	return here;
}

static void *bpf_per_cpu_ptr(const void *percpu_ptr, u32 cpu)
{
	return &llc[cpu];
}

static u32 nr_ids;

u32 scx_bpf_nr_cpu_ids(void)
{
	return nr_ids;
}

u64 scx_bpf_now(void)
{
	return now_ns;
}

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node)
{
	return 0;
}

s32 scx_bpf_task_cpu(const struct task_struct *p)
{
	return ((const struct task *)p)->cpu;
}

bool scx_bpf_test_and_clear_cpu_idle(s32 cpu)
{
	bool was = idle[cpu];

	idle[cpu] = false;
	return was;
}

s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags)
{
	for (u32 cpu = 0; cpu < nr_ids; cpu++)
		if (allowed->bits[0] >> cpu & 1 && scx_bpf_test_and_clear_cpu_idle(cpu))
			return cpu;
	return -16; /* EBUSY */
}

s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags, bool *is_idle)
{
	s32 cpu = prev_cpu;

	if (!(p->cpus_ptr->bits[0] >> prev_cpu & 1) || !scx_bpf_test_and_clear_cpu_idle(prev_cpu))
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	*is_idle = cpu >= 0;
	return cpu >= 0 ? cpu : prev_cpu;
}

void scx_bpf_kick_cpu(s32 cpu, u64 flags)
{
	if (cpu < 0 || cpu >= (s32)nr_ids)
		return fail("kicks a CPU that does not exist");
	if (flags & SCX_KICK_PREEMPT && current[cpu]) {
		current[cpu]->p.scx.slice = 0;
		current[cpu]->taken = 1;
	}
	kicked[cpu] = true;
}

/* The queue's first that `cpu` may run, or its first at all for -1. */
static struct task *first_of(u64 dsq, s32 cpu)
{
	struct task *first = NULL;

	for (struct task *t = tasks; t < tasks + TASKS; t++) {
		if (t->status != QUEUED || t->dsq != dsq || (cpu >= 0 && !may_run(t, cpu)))
			continue;
		if (!first || (dsq & LOCAL_DSQ ? t->place < first->place
					       : (s64)(t->p.scx.dsq_vtime -
						       first->p.scx.dsq_vtime) < 0))
			first = t;
	}
	return first;
}

s32 scx_bpf_dsq_nr_queued(u64 dsq_id)
{
	s32 count = 0;

	for (struct task *t = tasks; t < tasks + TASKS; t++)
		count += t->status == QUEUED && t->dsq == dsq_id;
	return count;
}

struct task_struct *scx_bpf_dsq_peek(u64 dsq_id)
{
	return (struct task_struct *)first_of(dsq_id, -1);
}

static void insert(struct task_struct *p, u64 dsq, u64 slice)
{
	struct task *t = (struct task *)p;

	if (t->dsq != NOWHERE)
		fail("queues a task twice");
	if (dsq == (u64)SCX_DSQ_LOCAL)
		dsq = LOCAL_DSQ | t->cpu;
	else if ((dsq & LOCAL_DSQ) == LOCAL_DSQ && !may_run(t, dsq & ~LOCAL_DSQ))
		fail("sends a task where it may not run");
	else if ((dsq & LOCAL_DSQ) != LOCAL_DSQ && dsq >= nr_ids &&
		 (dsq < COX_DSQ_SHARED || dsq >= COX_DSQ_SHARED + nr_domains))
		fail("names a queue that does not exist");
	t->dsq = dsq;
	t->place = ++places;
	t->p.scx.slice = slice;
}

void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	insert(p, dsq_id, slice);
}

void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime, u64 flags)
{
	p->scx.dsq_vtime = vtime;
	insert(p, dsq_id, slice);
}

bool scx_bpf_dsq_move_to_local(u64 dsq_id)
{
	struct task *t = first_of(dsq_id, here);

	if (!t)
		return false;
	t->dsq = LOCAL_DSQ | here;
	t->place = ++places;
	t->cpu = here;
	return true;
}

bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice)
{
	p->scx.slice = slice;
	return true;
}

/* --- the core ------------------------------------------------------------------------- */

/*
 * An operation on a task, executed by the CPU `here`. There, inside a BPF program, the running
 * task counts as migration-disabled once by that alone.
 */
#define OPERATION(operation, task, ...)                                                  \
	do {                                                                             \
		u64 ctx[] = { __VA_ARGS__ };                                             \
		u32 by_program = (task) && current[here] == (task);                      \
                                                                                         \
		if (by_program)                                                          \
			current[here]->p.migration_disabled++;                           \
		operation(ctx);                                                          \
		if (by_program)                                                          \
			current[here]->p.migration_disabled--;                           \
	} while (0)

static void begin_wait(struct task *t)
{
	t->waits_since = t->turn_since = now_ns;
	t->idle_beside = 0;
}

static void end_turn(struct task *t)
{
	t->longest_turn = cox_max_u64(t->longest_turn, now_ns - t->turn_since);
	t->turn_since = now_ns;
}

static void queued(struct task *t)
{
	t->status = QUEUED;
	if (t->dsq == NOWHERE)
		return fail("forgets a task");
	if ((t->dsq & LOCAL_DSQ) != LOCAL_DSQ)
		return;
	t->cpu = t->dsq & ~LOCAL_DSQ;
	kicked[t->cpu] = true;
}

static void enqueue(struct task *t, u64 flags)
{
	t->dsq = NOWHERE;
	OPERATION(cox_op_enqueue, t, (u64)&t->p, flags);
	queued(t);
}

static void put(struct task *t)
{
	OPERATION(cox_op_stopping, t, (u64)&t->p, true);
	t->waits_since = now_ns;
	t->idle_beside = 0;
	if (t->p.scx.slice) { /* a higher class takes the CPU: first in the local queue */
		t->status = QUEUED;
		t->dsq = LOCAL_DSQ | here;
		t->place = -++places;
		return;
	}
	if (!t->taken)
		end_turn(t);
	enqueue(t, 0);
	t->taken = 0;
}

static void take(struct task *t)
{
	t->longest_wait = cox_max_u64(t->longest_wait, now_ns - t->waits_since);
	t->status = RUNNING;
	t->dsq = NOWHERE;
	t->taken = 0;
	current[here] = t;
	idle[here] = false;
	if (!may_run(t, here))
		fail("runs a task where it may not run");
	OPERATION(cox_op_running, t, (u64)&t->p);
}

static void schedule(s32 cpu)
{
	struct task *previous = current[cpu], *next;

	here = cpu;
	if (previous && previous->p.scx.slice)
		return;
	next = first_of(LOCAL_DSQ | cpu, cpu);
	if (!next) {
		OPERATION(cox_op_dispatch, previous, cpu, (u64)previous);
		if (previous && previous->p.scx.slice) { /* it goes on */
			if (!previous->taken)
				end_turn(previous);
			previous->taken = 0;
			return;
		}
		next = first_of(LOCAL_DSQ | cpu, cpu);
	}
	if (!next && previous) { /* nobody else: the kernel lets it go on by itself */
		previous->p.scx.slice = DEFAULT_SLICE_NS;
		return;
	}
	if (previous)
		put(previous);
	current[cpu] = NULL;
	if (next)
		take(next);
	else
		idle[cpu] = true;
}

/* What was kicked looks for work, until nobody is. */
static void settle(void)
{
	bool again;

	do {
		again = false;
		for (u32 cpu = 0; cpu < nr_ids; cpu++) {
			if (!kicked[cpu])
				continue;
			kicked[cpu] = false;
			again = true;
			schedule(cpu);
		}
	} while (again && !failure);
}

/* --- events --------------------------------------------------------------------------- */

void machine(u32 cpus, const int *llcs)
{
	__builtin_memset(tasks, 0, sizeof(tasks));
	__builtin_memset(current, 0, sizeof(current));
	__builtin_memset(kicked, 0, sizeof(kicked));
	__builtin_memset(groups, 0, sizeof(groups));
	__builtin_memset(cpu_states, 0, sizeof(cpu_states));
	__builtin_memset(counters, 0, sizeof(counters));
	__builtin_memset(llc_domain, 0, sizeof(llc_domain));
	__builtin_memset(cpu_domain, 0, sizeof(cpu_domain));
	idle_beside_ns = 0;
	failure = NULL;
	nr_ids = cpus;
	now_ns = 1000 * NSEC_PER_SEC;
	for (u32 cpu = 0; cpu < cpus; cpu++) {
		llc[cpu] = llcs[cpu];
		idle[cpu] = true;
	}
	if (cox_op_init(NULL))
		fail("does not start");
}

void set_group(u32 slot, u32 parent, u32 weight, u64 vtime, u64 level_vtime)
{
	groups[slot] = (struct group){ .id = slot, .parent = parent, .weight = weight,
				       .vtime = vtime, .level_vtime = level_vtime };
}

void add_task(u32 id, u64 allowed, u32 weight, u32 kthread, u32 group)
{
	static struct cpumask masks[TASKS];
	struct task *t = &tasks[id];

	masks[id].bits[0] = allowed;
	t->allowed = allowed;
	t->cpu = __builtin_ctzll(allowed);
	t->status = ASLEEP;
	t->dsq = NOWHERE;
	t->p.cpus_ptr = &masks[id];
	t->p.nr_cpus_allowed = __builtin_popcountll(allowed);
	t->p.flags = kthread ? PF_KTHREAD : 0;
	t->p.scx.flags = SCX_TASK_QUEUED; /* as long as it runs or waits, and else nobody looks */
	t->p.scx.weight = weight;
	t->p.real_parent = &t->p;
	t->state.group = t->state.lag_group = group;
	t->state.created_at = now_ns;
}

void wake(u32 id, u32 by_cpu)
{
	struct task *t = &tasks[id];

	if (t->status != ASLEEP)
		return;
	here = by_cpu;
	begin_wait(t);
	t->dsq = NOWHERE;
	t->taken = 0;
	if (t->p.nr_cpus_allowed > 1 && !t->p.migration_disabled) {
		u64 ctx[] = { (u64)&t->p, t->cpu, 0 };
		s32 cpu = cox_op_select_cpu(ctx);

		if (!may_run(t, cpu))
			fail("chooses a CPU where the task may not run");
		t->cpu = cpu;
		if (t->dsq != NOWHERE)
			t->dsq = LOCAL_DSQ | cpu;
	}
	if (t->dsq != NOWHERE)
		queued(t);
	else
		enqueue(t, SCX_ENQ_WAKEUP);
	if (!current[t->cpu])
		kicked[t->cpu] = true;
	settle();
}

void sleep_on(u32 cpu)
{
	struct task *t = current[cpu];

	if (!t)
		return;
	here = cpu;
	OPERATION(cox_op_stopping, t, (u64)&t->p, false);
	t->status = ASLEEP;
	current[cpu] = NULL;
	schedule(cpu);
	settle();
}

void yield_on(u32 cpu)
{
	struct task *t = current[cpu];

	if (!t)
		return;
	here = cpu;
	OPERATION(cox_op_yield, t, (u64)&t->p, 0);
	schedule(cpu);
	settle();
}

/* A task of a higher class runs on this CPU, in no time of ours. */
void interrupt(u32 cpu)
{
	struct task *t = current[cpu];

	if (!t || !t->p.scx.slice)
		return;
	here = cpu;
	put(t);
	current[cpu] = NULL;
	take(t);
}

/* The kernel takes a waiting task out of its queue and puts it back: nice, cgroup, affinity. */
void requeue(u32 id, u32 by_cpu)
{
	struct task *t = &tasks[id];

	if (t->status != QUEUED || (t->dsq & LOCAL_DSQ) == LOCAL_DSQ)
		return;
	here = by_cpu;
	begin_wait(t);
	enqueue(t, 0);
	settle();
}

/* The task forbids itself to migrate, or allows it again. */
void pin_on(u32 cpu)
{
	if (current[cpu])
		current[cpu]->p.migration_disabled ^= 1;
}

static void note_idle(u64 passed)
{
	for (struct task *t = tasks; t < tasks + TASKS; t++) {
		bool beside = false;

		for (u32 cpu = 0; t->status == QUEUED && cpu < nr_ids; cpu++)
			beside |= !current[cpu] && may_run(t, cpu);
		t->idle_beside = beside ? t->idle_beside + passed : 0;
		idle_beside_ns = cox_max_u64(idle_beside_ns, t->idle_beside);
	}
}

void pass_time(u64 ns)
{
	while (ns && !failure) {
		u64 step = ns;

		for (u32 cpu = 0; cpu < nr_ids; cpu++)
			if (current[cpu])
				step = cox_min_u64(step, current[cpu]->p.scx.slice);
		note_idle(step);
		now_ns += step;
		ns -= step;
		for (u32 cpu = 0; cpu < nr_ids; cpu++) {
			struct task *t = current[cpu];

			if (!t)
				continue;
			t->ran += step;
			t->p.scx.slice -= step;
			kicked[cpu] |= !t->p.scx.slice;
		}
		settle();
	}
}

u64 waited(u32 id)
{
	struct task *t = &tasks[id];

	return cox_max_u64(t->longest_wait, t->status == QUEUED ? now_ns - t->waits_since : 0);
}

u64 turned(u32 id)
{
	struct task *t = &tasks[id];
	bool open = t->status == QUEUED || t->status == RUNNING;

	return cox_max_u64(t->longest_turn, open ? now_ns - t->turn_since : 0);
}

u64 ran(u32 id)
{
	return tasks[id].ran;
}
