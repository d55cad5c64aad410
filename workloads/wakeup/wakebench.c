/*
 * Wake-up latency under load, in the manner of schbench.
 *
 * Message threads send requests at random moments (Poisson, drawn from the seed); each request
 * wakes a worker thread, which does a small, fixed amount of work. CPU hogs in processes of
 * their own fill all the time there is. Arrival times do not depend on how the system keeps up
 * (no coordinated omission); a request that finds no worker idle is turned away, as by any server
 * with a bounded pool, so that overload shows as fewer requests and not as an endless queue.
 *
 *   wakebench calibrate FILE          writes how many work units make one request here
 *   wakebench run FILE CPUS SEED MILLISECONDS
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>

#include "beside.h"
#include "random.h"

#define WORKERS_PER_SENDER 8
#define HOGS_PER_CPU 2
#define MEAN_GAP_NS (2500 * NS_PER_US) /* between two requests of one sender */
#define REQUEST_CPU_NS (250 * NS_PER_US)
#define WARMUP_NS (500 * NS_PER_MS)
#define MAX_CPUS 1024

struct request {
	uint64_t due_ns, sent_ns;
};

struct worker {
	_Alignas(64) _Atomic uint32_t sent; /* also the futex */
	_Alignas(64) _Atomic uint32_t done; /* the same as sent when idle */
	struct request request;
	uint64_t *wakeup_ns, *request_ns; /* samples of requests due inside the window */
	size_t wakeups, requests, capacity;
	size_t completed; /* inside the window, whenever they were due */
	pthread_t thread;
};

struct sender {
	uint64_t random;
	struct worker *workers;
	size_t next;
	pthread_t thread;
};

static unsigned long units_per_request;
static uint64_t start_ns, window_start_ns, window_end_ns;
static atomic_bool over;
static _Atomic uint64_t *hog_chunks;

/* One unit: dependent loads and branches over a table that fits a first-level cache. */
static uint64_t work(uint64_t value, unsigned long units)
{
	static uint16_t table[4096];

	for (unsigned long i = 0; i < units; i++) {
		uint16_t *slot = &table[value & 4095];

		value = value * 6364136223846793005ULL + 1442695040888963407ULL + *slot;
		if (value & 0x10000)
			*slot = (uint16_t)(*slot + (value >> 48));
		else
			value ^= value >> 29;
	}
	return value;
}

static volatile uint64_t sink;

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool in_window(uint64_t ns)
{
	return ns >= window_start_ns && ns < window_end_ns;
}

static void *run_worker(void *argument)
{
	struct worker *self = argument;

	for (uint32_t done = 0;; atomic_store(&self->done, ++done)) {
		bool slept = false;
		struct request request;
		uint64_t started, ended;

		while (atomic_load(&self->sent) == done) {
			futex_wait(&self->sent, done);
			slept = true;
		}
		started = now_ns();
		if (atomic_load(&over))
			return NULL;
		request = self->request;
		sink = work(request.due_ns, units_per_request);
		ended = now_ns();
		self->completed += in_window(ended);
		if (!in_window(request.due_ns) || self->requests == self->capacity)
			continue;
		self->request_ns[self->requests++] = ended - request.due_ns;
		if (slept)
			self->wakeup_ns[self->wakeups++] = started - request.sent_ns;
	}
}

/* The next idle worker in turn, or none. */
static struct worker *idle_worker(struct sender *sender)
{
	for (size_t i = 0; i < WORKERS_PER_SENDER; i++) {
		struct worker *worker = &sender->workers[sender->next++ % WORKERS_PER_SENDER];

		if (atomic_load(&worker->sent) == atomic_load(&worker->done))
			return worker;
	}
	return NULL;
}

static void *run_sender(void *argument)
{
	struct sender *self = argument;
	uint64_t due = start_ns;

	use_exact_timers();
	for (;;) {
		/* Uniform in (0, 1] to an exponential gap, at most ten times the mean. */
		double uniform = ((double)(next_random(&self->random) >> 11) + 1.0) * 0x1p-53;
		struct worker *worker;

		due += (uint64_t)(fmin(-log(uniform), 10.0) * (double)MEAN_GAP_NS);
		sleep_until(due);
		if (atomic_load(&over))
			return NULL;
		worker = idle_worker(self);
		if (!worker)
			continue;
		worker->request = (struct request){ .due_ns = due, .sent_ns = now_ns() };
		atomic_fetch_add(&worker->sent, 1);
		futex_wake(&worker->sent);
	}
}

static pid_t start_hog(size_t index)
{
	pid_t pid = fork();

	if (pid < 0)
		die("start a hog");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "hog");
	for (;;) {
		sink = work(index, units_per_request);
		atomic_fetch_add_explicit(&hog_chunks[index * 8], 1, memory_order_relaxed);
	}
}

static void *allocate(size_t count, size_t size)
{
	void *memory = aligned_alloc(64, (count * size + 63) / 64 * 64);

	if (!memory)
		die("memory for %zu x %zu bytes", count, size);
	memset(memory, 0, count * size); /* no page faults while measuring */
	return memory;
}

static void calibrate(const char *path)
{
	const unsigned long units = 100000;
	double per_unit_ns = INFINITY;
	FILE *file;

	for (int i = 0; i < 20; i++) {
		uint64_t before = read_clock(CLOCK_THREAD_CPUTIME_ID);

		sink = work((uint64_t)i, units);
		per_unit_ns = fmin(per_unit_ns, (double)(read_clock(CLOCK_THREAD_CPUTIME_ID) -
							 before) / (double)units);
	}
	file = fopen(path, "w");
	if (!file || fprintf(file, "%lu\n", (unsigned long)((double)REQUEST_CPU_NS / per_unit_ns)) < 0 ||
	    fclose(file))
		die("write %s", path);
}

static unsigned long read_calibration(const char *path)
{
	unsigned long units;
	FILE *file = fopen(path, "r");

	if (!file || fscanf(file, "%lu", &units) != 1 || !units)
		die("%s holds no calibration: run 'wakebench calibrate' first", path);
	fclose(file);
	return units;
}

static size_t merge(uint64_t *into, size_t have, const uint64_t *samples, size_t count)
{
	memcpy(into + have, samples, count * sizeof(*samples));
	return have + count;
}

static void run(size_t cpus, uint64_t seed, uint64_t length_ns)
{
	size_t hogs = cpus * HOGS_PER_CPU, workers = cpus * WORKERS_PER_SENDER;
	size_t capacity = (size_t)(length_ns / MEAN_GAP_NS) + 1024;
	size_t wakeups = 0, requests = 0, completed = 0;
	struct sender *sender = allocate(cpus, sizeof(*sender));
	struct worker *worker = allocate(workers, sizeof(*worker));
	uint64_t *before = allocate(hogs, sizeof(*before));
	uint64_t *wakeup_ns = allocate(workers * capacity, sizeof(*wakeup_ns));
	uint64_t *request_ns = allocate(workers * capacity, sizeof(*request_ns));
	pid_t *hog = allocate(hogs, sizeof(*hog));
	uint64_t hog_start_ns, hog_ns, total = 0, least = UINT64_MAX;

	hog_chunks = mmap(NULL, hogs * 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			  0);
	if (hog_chunks == MAP_FAILED)
		die("memory for the hogs' counters");
	for (size_t i = 0; i < hogs; i++)
		hog[i] = start_hog(i);

	start_ns = now_ns() + 20 * NS_PER_MS;
	window_start_ns = start_ns + WARMUP_NS;
	window_end_ns = window_start_ns + length_ns;
	for (size_t i = 0; i < workers; i++) {
		worker[i].capacity = capacity;
		worker[i].wakeup_ns = allocate(capacity, sizeof(uint64_t));
		worker[i].request_ns = allocate(capacity, sizeof(uint64_t));
		if (pthread_create(&worker[i].thread, NULL, run_worker, &worker[i]))
			die("start a worker");
	}
	for (size_t i = 0; i < cpus; i++) {
		sender[i].random = seed ^ next_random(&(uint64_t){ i });
		sender[i].workers = &worker[i * WORKERS_PER_SENDER];
		if (pthread_create(&sender[i].thread, NULL, run_sender, &sender[i]))
			die("start a sender");
	}

	sleep_until(window_start_ns);
	hog_start_ns = now_ns();
	for (size_t i = 0; i < hogs; i++)
		before[i] = atomic_load(&hog_chunks[i * 8]);
	sleep_until(window_end_ns);
	hog_ns = now_ns() - hog_start_ns;
	for (size_t i = 0; i < hogs; i++) {
		uint64_t chunks = atomic_load(&hog_chunks[i * 8]) - before[i];

		total += chunks;
		least = chunks < least ? chunks : least;
	}
	for (size_t i = 0; i < hogs; i++)
		if (kill(hog[i], SIGKILL) || waitpid(hog[i], NULL, 0) != hog[i])
			die("a hog is gone");

	atomic_store(&over, true);
	for (size_t i = 0; i < cpus; i++)
		pthread_join(sender[i].thread, NULL);
	for (size_t i = 0; i < workers; i++) {
		atomic_fetch_add(&worker[i].sent, 1);
		futex_wake(&worker[i].sent);
		pthread_join(worker[i].thread, NULL);
		wakeups = merge(wakeup_ns, wakeups, worker[i].wakeup_ns, worker[i].wakeups);
		requests = merge(request_ns, requests, worker[i].request_ns, worker[i].requests);
		completed += worker[i].completed;
	}
	errno = 0;
	if (wakeups < 10)
		die("only %zu wake-ups in the window: nothing to take a percentile of", wakeups);
	if (!total)
		die("the hogs did no work at all");
	sort_samples(wakeup_ns, wakeups);
	sort_samples(request_ns, requests);
	printf("{\"metrics\": {\"wakeup_p50_us\": %.1f, \"wakeup_p99_us\": %.1f, "
	       "\"wakeup_p999_us\": %.1f, \"request_p50_us\": %.1f, \"request_p99_us\": %.1f, "
	       "\"request_p999_us\": %.1f, \"requests_per_s\": %.2f, \"hog_work_per_s\": %.2f, "
	       "\"hog_least_share\": %.4f}}\n",
	       (double)percentile(wakeup_ns, wakeups, 500) / 1e3,
	       (double)percentile(wakeup_ns, wakeups, 990) / 1e3,
	       (double)percentile(wakeup_ns, wakeups, 999) / 1e3,
	       (double)percentile(request_ns, requests, 500) / 1e3,
	       (double)percentile(request_ns, requests, 990) / 1e3,
	       (double)percentile(request_ns, requests, 999) / 1e3,
	       (double)completed * 1e9 / (double)length_ns, (double)total * 1e9 / (double)hog_ns,
	       (double)least * (double)hogs / (double)total);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "calibrate")) {
		calibrate(argv[2]);
	} else if (argc == 6 && !strcmp(argv[1], "run")) {
		units_per_request = read_calibration(argv[2]);
		run(read_number(argv[3], "CPUS", 1, MAX_CPUS),
		    read_number(argv[4], "SEED", 0, UINT64_MAX),
		    read_number(argv[5], "MILLISECONDS", 100, 600000) * NS_PER_MS);
	} else {
		fprintf(stderr, "usage: wakebench calibrate FILE\n"
				"       wakebench run FILE CPUS SEED MILLISECONDS\n");
		return 2;
	}
	return 0;
}
