/*
 * A chain of small services under an open load, beside CPU hogs.
 *
 * A client sends each request to three services at once; each of them does a little, asks two
 * others one after the other, does a little more, and answers. A request is done when all three
 * have answered: nine processes, twelve messages there and back, so that one late wake-up of
 * anybody makes the whole late. Requests are due at random moments (Poisson, drawn from the seed),
 * and latency counts from then on, however the services keep up.
 *
 *   chain calibrate FILE                 writes how many steps take a microsecond here
 *   chain run FILE CPUS SEED MILLISECONDS
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "arrivals.h"
#include "hogs.h"
#include "percentile.h"
#include "steps.h"

#define MIDDLE 3
#define LEAVES 2 /* behind each of the middle ones */
#define HOGS_PER_CPU 2
#define MEAN_GAP_NS (20 * NS_PER_MS)
#define MIDDLE_US 150 /* before and after the leaves are asked */
#define LEAF_US 100
#define WARMUP_NS (400 * NS_PER_MS)
#define MAX_OPEN 256

struct request {
	uint64_t due_ns;
	unsigned int missing; /* answers; 0 where the place is free */
};

static struct request open_requests[MAX_OPEN];
static double steps_per_us;

static void hear(int fd, uint32_t *number)
{
	if (recv(fd, number, sizeof(*number), 0) != sizeof(*number))
		_exit(0); /* whoever asks is gone: the round is over */
}

static void say(int fd, uint32_t number)
{
	if (send(fd, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number))
		_exit(0);
}

/* Starts a process that serves on one end of a socket pair; the other end is the answer. */
static int start(const char *name, void (*serve)(int))
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		die("connect two services");
	pid = fork();
	if (pid < 0)
		die("start a service");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, name, 0, 0, 0);
		close(pair[0]);
		serve(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static void leaf(int client)
{
	uint32_t number;

	for (;;) {
		hear(client, &number);
		do_steps((uint64_t)(LEAF_US * steps_per_us));
		say(client, number);
	}
}

static void middle(int client)
{
	int leaves[LEAVES];
	uint32_t number;

	for (int i = 0; i < LEAVES; i++)
		leaves[i] = start("leaf", leaf);
	for (;;) {
		hear(client, &number);
		do_steps((uint64_t)(MIDDLE_US * steps_per_us));
		for (int i = 0; i < LEAVES; i++) {
			say(leaves[i], number);
			hear(leaves[i], &number);
		}
		do_steps((uint64_t)(MIDDLE_US * steps_per_us));
		say(client, number);
	}
}

static struct request *free_place(uint32_t *number)
{
	for (*number = 0; *number < MAX_OPEN; ++*number)
		if (!open_requests[*number].missing)
			return &open_requests[*number];
	return NULL;
}

static void run(unsigned int cpus, uint64_t seed, uint64_t ms)
{
	struct arrivals arrivals = { .random = seed, .mean_gap_ns = MEAN_GAP_NS };
	struct pollfd waits[MIDDLE + 1];
	struct hogs hogs;
	unsigned long before = 0, after;
	size_t capacity = 4 * ms * NS_PER_MS / MEAN_GAP_NS + 1024, samples = 0, turned_away = 0;
	uint64_t *latencies = calloc(capacity, sizeof(*latencies)), window, over;
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	double seconds;

	if (timer < 0 || !latencies)
		die("make ready");
	use_exact_timers();
	for (int i = 0; i < MIDDLE; i++)
		waits[i] = (struct pollfd){ .fd = start("middle", middle), .events = POLLIN };
	waits[MIDDLE] = (struct pollfd){ .fd = timer, .events = POLLIN };
	hogs_start(&hogs, cpus * HOGS_PER_CPU);
	window = now_ns() + WARMUP_NS;
	over = window + ms * NS_PER_MS;
	arrivals.due_ns = now_ns();
	next_due(&arrivals);
	for (;;) {
		struct itimerspec when = { .it_value = { (time_t)(arrivals.due_ns / NS_PER_S),
							 (long)(arrivals.due_ns % NS_PER_S) } };
		uint64_t now;

		if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) ||
		    poll(waits, MIDDLE + 1, -1) < 0)
			die("wait for answers");
		now = now_ns();
		if (now >= over)
			break;
		if (!before && now >= window)
			before = hogs_work(&hogs);
		for (int i = 0; i < MIDDLE; i++) {
			uint32_t number;
			struct request *request;

			if (!waits[i].revents)
				continue;
			if (recv(waits[i].fd, &number, sizeof(number), 0) != sizeof(number) ||
			    number >= MAX_OPEN)
				die("a service is gone");
			request = &open_requests[number];
			if (--request->missing == 0 && request->due_ns >= window &&
			    samples < capacity)
				latencies[samples++] = now_ns() - request->due_ns;
		}
		while (arrivals.due_ns <= now) {
			uint32_t number;
			struct request *request = free_place(&number);

			if (request) {
				*request = (struct request){ arrivals.due_ns, MIDDLE };
				for (int i = 0; i < MIDDLE; i++)
					if (send(waits[i].fd, &number, sizeof(number),
						 MSG_NOSIGNAL) != sizeof(number))
						die("a service is gone");
			} else if (arrivals.due_ns >= window) {
				turned_away++;
			}
			next_due(&arrivals);
		}
	}
	after = hogs_work(&hogs);
	seconds = (double)(now_ns() - window) / NS_PER_S;
	hogs_stop(&hogs);
	errno = 0;
	if (samples < 50 || !before)
		die("only %zu requests were answered, %zu turned away", samples, turned_away);
	sort_samples(latencies, samples);
	printf("{\"metrics\": {\"request_p50_us\": %.1f, \"request_p95_us\": %.1f, "
	       "\"request_p99_us\": %.1f, \"request_p999_us\": %.1f, \"requests_per_s\": %.2f, "
	       "\"hog_work_per_s\": %.1f}}\n",
	       (double)percentile(latencies, samples, 500) / NS_PER_US,
	       (double)percentile(latencies, samples, 950) / NS_PER_US,
	       (double)percentile(latencies, samples, 990) / NS_PER_US,
	       (double)percentile(latencies, samples, 999) / NS_PER_US,
	       (double)samples / seconds, (double)(after - before) / seconds);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "calibrate")) {
		calibrate(argv[2]);
		return 0;
	}
	if (argc != 6 || strcmp(argv[1], "run")) {
		fprintf(stderr, "usage: chain calibrate FILE\n"
				"       chain run FILE CPUS SEED MILLISECONDS\n");
		return 2;
	}
	steps_per_us = calibrated(argv[2]);
	run((unsigned int)read_number(argv[3], "CPUS", 1, 1024),
	    read_number(argv[4], "SEED", 0, UINT64_MAX),
	    read_number(argv[5], "MILLISECONDS", 100, 600000));
	return 0;
}
