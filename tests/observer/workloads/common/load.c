/*
 * One kind of load each, at its purest: load KIND MILLISECONDS CPUS
 *
 * Prints how many processes it started.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t end_ns;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int goes_on(void)
{
	return now_ns() < end_ns;
}

static void compute(int rounds)
{
	static volatile uint32_t value = 1;

	while (rounds--)
		value = value * 1664525u + 1013904223u;
}

static void doze(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* Computes all the time. */
static void hog(int source, int sink)
{
	(void)source, (void)sink;
	while (goes_on())
		compute(10000);
}

/* Wakes every few milliseconds, and does a little. */
static void blinker(int source, int sink)
{
	(void)source, (void)sink;
	while (goes_on()) {
		doze(3);
		compute(20000);
	}
}

/* Starts one short process after the other, each with a little work. */
static void spawner(int source, int sink)
{
	(void)source, (void)sink;
	while (goes_on()) {
		pid_t child = fork();

		if (!child) {
			compute(2000000);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
}

/* Waits for a byte, and answers it. */
static void player(int source, int sink)
{
	char byte = 0;

	while (goes_on())
		if (read(source, &byte, 1) != 1 || write(sink, &byte, 1) != 1)
			return;
	if (write(sink, &byte, 1) != 1) /* the other may still wait */
		return;
}

/* Writes pages and waits until the disk has each. */
static void writer(int source, int sink)
{
	static char pages[16 * 4096];
	char name[64];
	int file;

	(void)source, (void)sink;
	snprintf(name, sizeof(name), "pages-%d", (int)getpid());
	file = open(name, O_RDWR | O_CREAT | O_SYNC | O_CLOEXEC, 0600);
	while (file >= 0 && goes_on())
		if (pwrite(file, pages, sizeof(pages), 0) < 0)
			break;
	unlink(name);
}

static void sleeper(int source, int sink)
{
	(void)source, (void)sink;
	while (goes_on())
		doze(500);
}

/* Computes for half a second and dozes for half a second, by the clock: all of them in step. */
static void shifter(int source, int sink)
{
	(void)source, (void)sink;
	while (goes_on())
		if (now_ns() / 500000000u % 2)
			compute(10000);
		else
			doze(20);
}

static int start(void (*worker)(int, int), int source, int sink)
{
	if (!fork()) {
		worker(source, sink);
		_exit(0);
	}
	return 1;
}

static int start_many(void (*worker)(int, int), int count)
{
	for (int i = 0; i < count; i++)
		start(worker, -1, -1);
	return count;
}

static int start_players(int pairs)
{
	for (int i = 0; i < pairs; i++) {
		int there[2], back[2];

		if (pipe(there) || pipe(back) || write(there[1], "x", 1) != 1)
			exit(1);
		start(player, there[0], back[1]);
		start(player, back[0], there[1]);
	}
	return 2 * pairs;
}

int main(int argc, char **argv)
{
	int cpus, started;
	const char *kind;

	if (argc != 4)
		return 2;
	kind = argv[1];
	end_ns = now_ns() + strtoull(argv[2], NULL, 10) * 1000000u;
	cpus = atoi(argv[3]);
	if (!strcmp(kind, "hogs"))
		started = start_many(hog, 2 * cpus);
	else if (!strcmp(kind, "blinkers-beside-hogs"))
		started = start_many(hog, 2 * cpus) + start_many(blinker, 4 * cpus);
	else if (!strcmp(kind, "spawners"))
		started = start_many(spawner, 2 * cpus);
	else if (!strcmp(kind, "players"))
		started = start_players(2 * cpus);
	else if (!strcmp(kind, "shifters"))
		started = start_many(shifter, 2 * cpus);
	else if (!strcmp(kind, "writers"))
		started = start_many(writer, 2);
	else if (!strcmp(kind, "sleepers"))
		started = start_many(sleeper, 3);
	else
		return 2;
	for (int left = started; left; left--)
		wait(NULL);
	printf("{\"metrics\": {\"processes\": %d}}\n", started);
	return 0;
}
