/*
 * A training loop in phases, as a small model's would be: loaders prepare batches, threads compute
 * on them in step, and after some steps all stand still while a checkpoint is written.
 *
 * Loaders are processes that do more than the threads can wait for if they are late; a batch is
 * handed over by a pipe, which holds few of them. The neighbour wakes every 5 ms beside it.
 *
 *   training calibrate FILE
 *   training run FILE CPUS STEPS CHECKPOINT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "beside.h"
#include "steps.h"

#define LOADERS 3
#define LOAD_US 14000 /* CPU time for a batch */
#define COMPUTE_US 9000 /* of each thread for a step */
#define STEPS_PER_CHECKPOINT 16
#define CHECKPOINT_KIB 4096
#define BATCH_BYTES 4096 /* a page: a pipe of two holds two batches */
#define MAX_THREADS 64

static double steps_per_us;
static pthread_barrier_t begin, done;
static atomic_bool over;

static void load(int out, unsigned int count)
{
	static char batch[BATCH_BYTES];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "loader", 0, 0, 0);
	for (unsigned int i = 0; i < count; i++) {
		do_steps((uint64_t)(LOAD_US * steps_per_us));
		if (write(out, batch, sizeof(batch)) != (ssize_t)sizeof(batch))
			_exit(1);
	}
	_exit(0);
}

static void *compute(void *unused)
{
	prctl(PR_SET_NAME, "compute", 0, 0, 0);
	for (;;) {
		pthread_barrier_wait(&begin);
		if (atomic_load(&over))
			return unused;
		do_steps((uint64_t)(COMPUTE_US * steps_per_us));
		pthread_barrier_wait(&done);
	}
}

/* Writes and keeps it; how long that took. */
static uint64_t checkpoint(const char *path)
{
	static char page[4096];
	uint64_t start = now_ns();
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die("open %s", path);
	for (unsigned int i = 0; i < CHECKPOINT_KIB / 4; i++) {
		memset(page, (int)i, sizeof(page));
		if (write(fd, page, sizeof(page)) != (ssize_t)sizeof(page))
			die("write %s", path);
	}
	if (fsync(fd) || close(fd))
		die("keep %s", path);
	return now_ns() - start;
}

static void run(unsigned int threads, unsigned int steps, const char *path)
{
	struct beside beside;
	pthread_t ids[MAX_THREADS];
	pid_t loaders[LOADERS];
	uint64_t start, took, waited = 0, written = 0, *waits;
	int pipes[2], status;
	size_t samples;

	if (pipe2(pipes, O_CLOEXEC) || fcntl(pipes[1], F_SETPIPE_SZ, 2 * BATCH_BYTES) < 0)
		die("connect the loaders");
	beside_start(&beside);
	sleep_until(now_ns() + 200 * NS_PER_MS);
	beside_begin(&beside);
	start = now_ns();
	for (unsigned int i = 0; i < LOADERS; i++) {
		loaders[i] = fork();
		if (loaders[i] < 0)
			die("start a loader");
		if (!loaders[i])
			load(pipes[1], steps / LOADERS + (i < steps % LOADERS));
	}
	pthread_barrier_init(&begin, NULL, threads + 1);
	pthread_barrier_init(&done, NULL, threads + 1);
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, compute, NULL))
			die("start a thread");
	for (unsigned int step = 1; step <= steps; step++) {
		static char batch[BATCH_BYTES];
		uint64_t asked = now_ns();

		if (read(pipes[0], batch, sizeof(batch)) != (ssize_t)sizeof(batch))
			die("no batch comes");
		waited += now_ns() - asked;
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&done);
		if (step % STEPS_PER_CHECKPOINT == 0)
			written += checkpoint(path);
	}
	took = now_ns() - start;
	atomic_store(&over, true);
	pthread_barrier_wait(&begin);
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	for (unsigned int i = 0; i < LOADERS; i++)
		if (waitpid(loaders[i], &status, 0) != loaders[i] || status)
			die("a loader broke");
	beside_stop(&beside);
	samples = beside_waits(&beside, &waits);
	printf("{\"metrics\": {\"epoch_s\": %.4f, \"steps_per_s\": %.3f, \"starved_s\": %.4f, "
	       "\"checkpoint_s\": %.4f, \"victim_wait_p50_us\": %.1f, "
	       "\"victim_wait_p99_us\": %.1f}}\n",
	       (double)took / 1e9, steps * 1e9 / (double)took, (double)waited / 1e9,
	       (double)written / 1e9, (double)percentile(waits, samples, 500) / 1e3,
	       (double)percentile(waits, samples, 990) / 1e3);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "calibrate")) {
		calibrate(argv[2]);
		return 0;
	}
	if (argc != 6 || strcmp(argv[1], "run")) {
		fprintf(stderr, "usage: training calibrate FILE\n"
				"       training run FILE CPUS STEPS CHECKPOINT\n");
		return 2;
	}
	steps_per_us = calibrated(argv[2]);
	run((unsigned int)read_number(argv[3], "CPUS", 1, MAX_THREADS),
	    (unsigned int)read_number(argv[4], "STEPS", 1, 1000000), argv[5]);
	return 0;
}
