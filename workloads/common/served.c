/*
 * A server under an open load, beside CPU hogs.
 *
 *   served PROTOCOL SOCKET CPUS SEED MILLISECONDS GAP_US -- SERVER...
 *
 * Starts the server, which listens on a Unix socket; PROTOCOL is redis or http. Requests are due
 * at random moments (Poisson, drawn from the seed, GAP_US apart on average), however the server
 * keeps up; latency counts from the moment that a request was due, so waiting for a connection is
 * part of it. A request that is due while no connection is free is turned away, so that overload
 * shows as fewer requests and not as an endless queue. Every kind of request is asked once before:
 * from then on its answer has a known length, and another length ends the round without a number.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "arrivals.h"
#include "hogs.h"
#include "percentile.h"

#define CONNECTIONS 32
#define HOGS_PER_CPU 2
#define WARMUP_NS (400 * NS_PER_MS)
#define QUIET_MS 300 /* nothing more of an answer comes after that long */
#define START_S 20
#define BUFFER 65536

struct kind {
	const char *request;
	size_t length; /* of its answer */
};

struct connection {
	int fd;
	bool busy;
	const struct kind *asked;
	uint64_t due_ns;
	size_t left;
};

static struct kind redis[] = {
	{ "SET k 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 0 },
	{ "GET k\r\n", 0 },
	{ "LRANGE l 0 199\r\n", 0 },
	{ "INCRBYFLOAT f 0\r\n", 0 },
};
static struct kind http[] = {
	{ "GET /small.html HTTP/1.1\r\nHost: localhost\r\n\r\n", 0 },
	{ "GET /large.html HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n", 0 },
};

static struct connection connections[CONNECTIONS];
static const char *path;

static int try_to_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("make a socket");
	if (strlen(path) >= sizeof(address.sun_path))
		die("%s is too long for a socket's name", path);
	strcpy(address.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static pid_t serve(char **command)
{
	uint64_t end_ns = now_ns() + START_S * NS_PER_S;
	pid_t pid;
	int fd;

	unlink(path);
	pid = fork();
	if (pid < 0)
		die("start the server");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(2, 1) < 0)
			die("let the server speak");
		execvp(command[0], command);
		die("run %s", command[0]);
	}
	while ((fd = try_to_connect()) < 0) {
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid || now_ns() > end_ns) {
			errno = 0;
			die("%s does not listen on %s", command[0], path);
		}
		sleep_until(now_ns() + 10 * NS_PER_MS);
	}
	close(fd);
	return pid;
}

static void say(int fd, const char *text)
{
	size_t length = strlen(text);

	if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length)
		die("the server hangs up");
}

/* Bytes of one answer: what comes until nothing more does. */
static size_t hear_all(int fd)
{
	static char buffer[BUFFER];
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	size_t length = 0;

	while (poll(&wait, 1, length ? QUIET_MS : START_S * 1000) == 1) {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

		if (got <= 0)
			die("the server hangs up");
		length += (size_t)got;
	}
	errno = 0;
	if (!length)
		die("the server does not answer");
	return length;
}

static void learn_lengths(struct kind *kinds, size_t count, bool fill)
{
	int fd = try_to_connect();

	if (fd < 0)
		die("connect to the server");
	for (int i = 0; fill && i < 200; i++)
		say(fd, "RPUSH l 0123456789abcdef\r\n");
	if (fill)
		hear_all(fd);
	for (size_t i = 0; i < count; i++) {
		say(fd, kinds[i].request);
		kinds[i].length = hear_all(fd);
	}
	close(fd);
}

static struct connection *idle_one(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (!connections[i].busy)
			return &connections[i];
	return NULL;
}

static void set_timer(int timer, uint64_t at_ns)
{
	struct itimerspec when = { .it_value = { (time_t)(at_ns / NS_PER_S),
						 (long)(at_ns % NS_PER_S) } };

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL))
		die("set a timer");
}

int main(int argc, char **argv)
{
	static char buffer[BUFFER];
	struct epoll_event event = { .events = EPOLLIN }, events[CONNECTIONS + 1];
	struct arrivals arrivals;
	struct hogs hogs;
	struct kind *kinds;
	unsigned long before = 0, after;
	uint64_t began, window, over, cpus, ms, *latencies;
	size_t kind_count, samples = 0, capacity, turned_away = 0;
	int epoll, timer;
	pid_t server;
	double seconds;
	bool fill;

	if (argc < 9 || strcmp(argv[7], "--")) {
		fprintf(stderr, "usage: served redis|http SOCKET CPUS SEED MILLISECONDS GAP_US -- "
				"SERVER...\n");
		return 2;
	}
	fill = !strcmp(argv[1], "redis");
	kinds = fill ? redis : http;
	kind_count = fill ? sizeof(redis) / sizeof(*redis) : sizeof(http) / sizeof(*http);
	path = argv[2];
	cpus = read_number(argv[3], "CPUS", 1, 1024);
	arrivals.random = read_number(argv[4], "SEED", 0, UINT64_MAX);
	ms = read_number(argv[5], "MILLISECONDS", 100, 600000);
	arrivals.mean_gap_ns = read_number(argv[6], "GAP_US", 10, 1000000) * NS_PER_US;

	use_exact_timers();
	server = serve(argv + 8);
	learn_lengths(kinds, kind_count, fill);
	capacity = 4 * ms * NS_PER_MS / arrivals.mean_gap_ns + 1024;
	latencies = calloc(capacity, sizeof(*latencies));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!latencies || epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event))
		die("make ready");
	for (size_t i = 0; i < CONNECTIONS; i++) {
		connections[i].fd = try_to_connect();
		event.data.ptr = &connections[i];
		if (connections[i].fd < 0 ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event))
			die("connect to the server");
	}

	hogs_start(&hogs, (unsigned int)cpus * HOGS_PER_CPU);
	began = now_ns();
	window = began + WARMUP_NS;
	over = window + ms * NS_PER_MS;
	arrivals.due_ns = began;
	set_timer(timer, next_due(&arrivals));
	for (;;) {
		int ready = epoll_wait(epoll, events, CONNECTIONS + 1, -1);
		uint64_t now = now_ns();

		if (ready < 0)
			die("wait for answers");
		if (now >= over)
			break;
		if (!before && now >= window)
			before = hogs_work(&hogs);
		for (int i = 0; i < ready; i++) {
			struct connection *connection = events[i].data.ptr;
			ssize_t got;

			if (!connection)
				continue;
			got = recv(connection->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
			if (got <= 0 || !connection->busy || (size_t)got > connection->left) {
				errno = 0;
				die("the server gave another answer than before");
			}
			connection->left -= (size_t)got;
			if (connection->left)
				continue;
			connection->busy = false;
			if (connection->due_ns >= window && samples < capacity)
				latencies[samples++] = now - connection->due_ns;
		}
		while (arrivals.due_ns <= now) {
			struct connection *connection = idle_one();
			size_t which = random_below(&arrivals.random, kind_count);

			if (connection) {
				connection->busy = true;
				connection->asked = &kinds[which];
				connection->due_ns = arrivals.due_ns;
				connection->left = kinds[which].length;
				say(connection->fd, kinds[which].request);
			} else if (arrivals.due_ns >= window) {
				turned_away++;
			}
			next_due(&arrivals);
		}
		set_timer(timer, arrivals.due_ns);
	}
	after = hogs_work(&hogs);
	seconds = (double)(now_ns() - window) / NS_PER_S;
	hogs_stop(&hogs);
	if (kill(server, SIGTERM) || waitpid(server, NULL, 0) != server)
		die("the server is gone");
	errno = 0;
	if (samples < 100 || !before)
		die("only %zu requests were answered, %zu turned away", samples, turned_away);
	sort_samples(latencies, samples);
	printf("{\"metrics\": {\"request_p50_us\": %.1f, \"request_p99_us\": %.1f, "
	       "\"request_p999_us\": %.1f, \"requests_per_s\": %.2f, "
	       "\"hog_work_per_s\": %.1f}}\n",
	       (double)percentile(latencies, samples, 500) / NS_PER_US,
	       (double)percentile(latencies, samples, 990) / NS_PER_US,
	       (double)percentile(latencies, samples, 999) / NS_PER_US,
	       (double)samples / seconds, (double)(after - before) / seconds);
	return 0;
}
