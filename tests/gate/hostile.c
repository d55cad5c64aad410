// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a compiler might do that an attacker has taken over: one thing a run, named by the first
 * argument. Ends with 0 where it succeeded, else with the errno that kept it from it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static int wait_for_ever(void)
{
	static int word;

	for (;;)
		if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL) < 0)
			return errno;
}

static int read_file(const char *path)
{
	char text[4096];
	int file = open(path, O_RDONLY);
	ssize_t size;

	if (file < 0)
		return errno;
	while ((size = read(file, text, sizeof(text))) > 0)
		if (write(1, text, size) < 0)
			return errno;
	return size < 0 ? errno : 0;
}

static int list(const char *path)
{
	DIR *directory = opendir(path);

	return directory ? 0 : errno;
}

static int write_file(const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	return file < 0 || write(file, "mine", 4) != 4 ? errno : 0;
}

static int flood(int file, long long bytes)
{
	static char page[65536];

	for (long long done = 0; done < bytes; done += sizeof(page))
		if (write(file, page, sizeof(page)) < 0)
			return errno;
	return 0;
}

/* Some processes, as many as are to be had; outside of a jail it stays harmless. */
static int fork_some(int most)
{
	for (int i = 0; i < most; i++) {
		int child = fork();

		if (child < 0)
			return errno;
		if (child == 0)
			_exit(0);
	}
	return 0;
}

static int leave_a_daemon(void)
{
	int child = fork();

	if (child < 0)
		return errno;
	if (child > 0) {
		printf("%d\n", child);
		return 0;
	}
	setsid();
	close(1);
	close(2);
	_exit(wait_for_ever());
}

static int idle(void *unused)
{
	(void)unused;
	return 0;
}

static int start_a_thread(void)
{
	static char stack[65536];
	int flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FS | CLONE_FILES;

	return clone(idle, stack + sizeof(stack), flags, NULL) < 0 ? errno : 0;
}

static int show_descriptors(void)
{
	for (int file = 0; file < 1024; file++)
		if (fcntl(file, F_GETFD) >= 0)
			printf("%d\n", file);
	return 0;
}

static int show_environment(void)
{
	for (char **each = environ; *each; each++)
		puts(*each);
	return 0;
}

/* As 32-bit programs ask the kernel: getpid is 20 there, and writev here. */
static int call_by_the_old_gate(void)
{
	long answer;

	__asm__ volatile("int $0x80" : "=a"(answer) : "a"(20L) : "memory");
	return answer > 0 ? 0 : (int)-answer;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *on = argc > 2 ? argv[2] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "read"))
		return read_file(on);
	if (!strcmp(what, "list"))
		return list(on);
	if (!strcmp(what, "look")) {
		struct stat about;

		return stat(on, &about) ? errno : 0;
	}
	if (!strcmp(what, "write"))
		return write_file(on);
	if (!strcmp(what, "flood"))
		return flood(atoi(on), 1LL << 30);
	if (!strcmp(what, "allocate"))
		return mmap(NULL, 8LL << 30, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED ?
			       errno : 0;
	if (!strcmp(what, "socket"))
		return socket(atoi(on), SOCK_DGRAM, 0) < 0 ? errno : 0;
	if (!strcmp(what, "fork"))
		return fork_some(64);
	if (!strcmp(what, "thread"))
		return start_a_thread();
	if (!strcmp(what, "daemon"))
		return leave_a_daemon();
	if (!strcmp(what, "wait"))
		return wait_for_ever();
	if (!strcmp(what, "spin"))
		for (;;)
			__asm__ volatile("" ::: "memory");
	if (!strcmp(what, "descriptors"))
		return show_descriptors();
	if (!strcmp(what, "environment"))
		return show_environment();
	if (!strcmp(what, "who"))
		return printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid()) < 0;
	if (!strcmp(what, "int80"))
		return call_by_the_old_gate();
	if (!strcmp(what, "call")) { /* a system call by its number, with numbers or a path */
		long arguments[6] = { 0 };

		for (int i = 3; i < argc && i < 9; i++)
			arguments[i - 3] = argv[i][0] == '/' ? (long)argv[i] : atol(argv[i]);
		return syscall(atol(on), arguments[0], arguments[1], arguments[2], arguments[3],
			       arguments[4], arguments[5]) < 0 ? errno : 0;
	}
	return 255;
}
