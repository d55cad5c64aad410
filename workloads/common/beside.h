/*
 * The neighbour: a small periodic task in a process of its own that a policy for the main load
 * must not hurt. It sleeps to the next 5 ms mark, touches a page, and notes how late it came.
 */
#ifndef COX_BESIDE_H
#define COX_BESIDE_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "die.h"
#include "percentile.h"

#define BESIDE_PERIOD_NS (5 * NS_PER_MS)
#define BESIDE_SAMPLES 65536 /* over five minutes */

struct beside {
	pid_t pid;
	struct {
		atomic_uint begun; /* samples from here on count */
		atomic_uint count;
		uint64_t wait_ns[BESIDE_SAMPLES];
	} *shared;
};

static void beside_loop(struct beside *beside)
{
	static volatile unsigned char page[4096];
	uint64_t mark = now_ns();
	unsigned int count = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	use_exact_timers();
	while (count < BESIDE_SAMPLES) {
		uint64_t woke;

		mark += BESIDE_PERIOD_NS;
		sleep_until(mark);
		woke = now_ns();
		for (unsigned int i = 0; i < sizeof(page); i += 16)
			page[i]++;
		if (!atomic_load(&beside->shared->begun))
			continue;
		beside->shared->wait_ns[count++] = woke - mark;
		atomic_store(&beside->shared->count, count);
		/* Marks that passed while we waited are lost: one late wake-up is one sample. */
		if (woke > mark + BESIDE_PERIOD_NS)
			mark += (woke - mark) / BESIDE_PERIOD_NS * BESIDE_PERIOD_NS;
	}
}

/* Starts the neighbour; it runs, and samples nothing until beside_begin(). */
static inline void beside_start(struct beside *beside)
{
	beside->shared = mmap(NULL, sizeof(*beside->shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (beside->shared == MAP_FAILED)
		die("memory for the neighbour's samples");
	beside->pid = fork();
	if (beside->pid < 0)
		die("start the neighbour");
	if (!beside->pid) {
		beside_loop(beside);
		_exit(0);
	}
}

static inline void beside_begin(struct beside *beside)
{
	atomic_store(&beside->shared->begun, 1);
}

/* Ends it. */
static inline void beside_stop(struct beside *beside)
{
	if (kill(beside->pid, SIGKILL) || waitpid(beside->pid, NULL, 0) != beside->pid)
		die("the neighbour is gone");
}

/* The sorted waits of one that was stopped: at least one, or there is no number. */
static inline size_t beside_waits(struct beside *beside, uint64_t **sorted)
{
	size_t count = atomic_load(&beside->shared->count);

	if (!count) {
		errno = 0;
		die("the neighbour never ran");
	}
	*sorted = beside->shared->wait_ns;
	sort_samples(*sorted, count);
	return count;
}

#endif
