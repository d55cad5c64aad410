/* CPU hogs, each a process of its own, that fill all the time there is and count what they do. */
#ifndef COX_HOGS_H
#define COX_HOGS_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "die.h"

#define MAX_HOGS 512
#define HOG_STEPS 20000 /* of one chunk of work */

struct hogs {
	unsigned int count;
	pid_t pids[MAX_HOGS];
	struct {
		atomic_ulong chunks[MAX_HOGS];
	} *shared;
};

static inline void hog_loop(atomic_ulong *chunks)
{
	volatile uint64_t value = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "hog", 0, 0, 0);
	for (;;) {
		for (unsigned int step = 0; step < HOG_STEPS; step++)
			value = value * 6364136223846793005ULL + 1442695040888963407ULL;
		atomic_fetch_add(chunks, 1);
	}
}

/* Starts this many of them, at most MAX_HOGS. */
static inline void hogs_start(struct hogs *hogs, unsigned int count)
{
	hogs->count = count < MAX_HOGS ? count : MAX_HOGS;
	hogs->shared = mmap(NULL, sizeof(*hogs->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (hogs->shared == MAP_FAILED)
		die("memory for the hogs' counts");
	for (unsigned int i = 0; i < hogs->count; i++) {
		hogs->pids[i] = fork();
		if (hogs->pids[i] < 0)
			die("start a hog");
		if (!hogs->pids[i])
			hog_loop(&hogs->shared->chunks[i]);
	}
}

/* Chunks that all of them have done so far. */
static inline unsigned long hogs_work(const struct hogs *hogs)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < hogs->count; i++)
		sum += atomic_load(&hogs->shared->chunks[i]);
	return sum;
}

/* Ends them. */
static inline void hogs_stop(struct hogs *hogs)
{
	for (unsigned int i = 0; i < hogs->count; i++)
		if (kill(hogs->pids[i], SIGKILL) ||
		    waitpid(hogs->pids[i], NULL, 0) != hogs->pids[i])
			die("a hog is gone");
}

#endif
