/* A process's wall clock, off by as much as a file says: preloaded into the parts of a story.
 *
 * COX_CLOCK names a file of eight bytes, nanoseconds. It stays mapped, so that a step is one store
 * by whoever plays the story: it needs no file descriptor here, and no moment sees half of it. Clocks
 * that count from a boot are the kernel's own, and so is all that waits by them.
 *
 * cc -shared -fPIC -O2 -Wall -Wextra -Werror
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static const int64_t none;
static const int64_t *off_ns = &none;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
	real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	const char *path = getenv("COX_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *page = MAP_FAILED;
	if (file >= 0) {
		page = mmap(NULL, sizeof(*off_ns), PROT_READ, MAP_SHARED, file, 0);
		close(file);
	}
	if (!real || page == MAP_FAILED)
		abort(); /* a story about clocks without them would tell lies */
	off_ns = page;
	unsetenv("LD_PRELOAD"); /* children have jails of their own */
}

static void shift(struct timespec *at, int64_t by_ns)
{
	int64_t ns = at->tv_sec * SECOND_NS + at->tv_nsec + by_ns;
	at->tv_sec = ns / SECOND_NS;
	at->tv_nsec = ns % SECOND_NS;
}

static int64_t now_off_ns(void)
{
	return __atomic_load_n(off_ns, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int code = real(clock, at);
	if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		shift(at, now_off_ns());
	return code;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}

/* The one wait by wall time that a Python may use for its locks: the kernel knows the true time. */
int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
	static int (*wait)(sem_t *, const struct timespec *);
	struct timespec true_until = *until;
	if (!wait)
		wait = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
	shift(&true_until, -now_off_ns());
	return wait(sem, &true_until);
}
