/*
 * case 4: a scheduler that mixes kinds of queues
 * tries: insert by vtime into a CPU's local queue, which the kernel answers with an abort
 * stops: source(whole-scheduler), proof(whole-scheduler)
 */

struct task_struct;
struct scx_exit_info;
struct sched_ext_ops {
	int (*select_cpu)(struct task_struct *p, int prev, unsigned long long flags);
	void (*enqueue)(struct task_struct *p, unsigned long long flags);
	void (*dispatch)(int cpu, struct task_struct *prev);
	unsigned long long flags;
	unsigned int timeout_ms;
	char name[128];
};
extern void scx_bpf_dsq_insert(struct task_struct *p, unsigned long long dsq, unsigned long long slice,
			       unsigned long long flags) __attribute__((section(".ksyms")));
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, unsigned long long dsq,
				     unsigned long long slice, unsigned long long vtime,
				     unsigned long long flags) __attribute__((section(".ksyms")));
extern void scx_bpf_kick_cpu(int cpu, unsigned long long flags) __attribute__((section(".ksyms")));
#define SEC(name) __attribute__((section(name), used))
char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/own_enqueue") void own_enqueue(unsigned long long *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	(void)p;
	scx_bpf_dsq_insert_vtime(p, 0x8000000000000002ULL, 20000000, 1, 0);
}

SEC(".struct_ops.link") struct sched_ext_ops own = { .enqueue = (void *)own_enqueue, .name = "own" };
