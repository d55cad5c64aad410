/*
 * PostgreSQL under pgbench's load, on a cluster that the set-up has made in data/.
 *
 *   postgres oltp|mixed CPUS SEED SECONDS BIN SCRIPT
 *   postgres olap CPUS SEED TRANSACTIONS BIN SCRIPT
 *
 * BIN is where PostgreSQL's programs are, SCRIPT an aggregate query.
 *
 * oltp    pgbench's short transactions, due at random moments (--rate), beside two hogs a CPU
 * mixed   the same beside the aggregate query, over and over, on two connections a CPU
 * olap    the aggregate query alone, TRANSACTIONS on each of two connections a CPU: makespan
 *
 * Latencies are pgbench's own, of every transaction, from the moment that it was due. The server
 * is started for each round and keeps nothing safe: a round is about CPUs, not about disks.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>

#include "beside.h"
#include "hogs.h"

#define CONNECTIONS_PER_CPU 2
#define OLTP_CLIENTS "4"
#define OLTP_PER_S "25"
#define START_S 40
#define MAX_SAMPLES 100000
#define LOG "oltp"
#define HOGS_PER_CPU 2

static char here[4096];
static const char *programs;

static const char *program(const char *name)
{
	static char path[8][4352];
	static unsigned int next;
	char *found = path[next++ % 8];

	snprintf(found, sizeof(path[0]), "%s/%s", programs, name);
	return found;
}

/* Starts a program whose words go to `out`, or nowhere. */
static pid_t start(char *const argv[], const char *out)
{
	pid_t pid = fork();

	if (pid < 0)
		die("start %s", argv[0]);
	if (!pid) {
		int fd = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(127);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static void finish(pid_t pid, const char *what)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("wait for %s", what);
	errno = 0;
	if (status)
		die("%s ended with wait status %#x", what, (unsigned int)status);
}

static pid_t serve(void)
{
	uint64_t end_ns = now_ns() + START_S * NS_PER_S;
	char *const server[] = {
		(char *)program("postgres"), "-D", "data", "-k", here,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "synchronous_commit=off",
		"-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "shared_buffers=48MB",
		"-c", "max_parallel_workers_per_gather=0", "-c", "jit=off",
		"-c", "checkpoint_timeout=1h", NULL,
	};
	char *const ask[] = { (char *)program("pg_isready"), "-q", "-U", "postgres", "-h", here, NULL };
	pid_t pid = start(server, "server.log");
	int status;

	do {
		sleep_until(now_ns() + 50 * NS_PER_MS);
		errno = 0;
		if (waitpid(pid, &status, WNOHANG) == pid || now_ns() > end_ns)
			die("the server does not come up: see server.log");
		if (waitpid(start(ask, NULL), &status, 0) < 0)
			die("ask whether the server is there");
	} while (status);
	return pid;
}

static size_t read_latencies(uint64_t *samples)
{
	size_t count = 0;
	glob_t logs;

	if (glob(LOG ".*", 0, NULL, &logs))
		die("pgbench has written no log");
	for (size_t i = 0; i < logs.gl_pathc; i++) {
		FILE *log = fopen(logs.gl_pathv[i], "r");
		unsigned long long latency;
		char line[256];

		if (!log)
			die("read %s", logs.gl_pathv[i]);
		while (count < MAX_SAMPLES && fgets(line, sizeof(line), log))
			if (sscanf(line, "%*u %*u %llu", &latency) == 1)
				samples[count++] = latency;
		fclose(log);
	}
	globfree(&logs);
	return count;
}

static void forget_logs(void)
{
	glob_t logs;

	if (glob(LOG ".*", 0, NULL, &logs))
		return;
	for (size_t i = 0; i < logs.gl_pathc; i++)
		unlink(logs.gl_pathv[i]);
	globfree(&logs);
}

/* Transactions that pgbench says it has done: "number of transactions actually processed: N". */
static double processed(const char *path)
{
	FILE *said = fopen(path, "r");
	char line[512];
	double count = -1;

	if (!said)
		die("read %s", path);
	while (fgets(line, sizeof(line), said))
		if (sscanf(line, "number of transactions actually processed: %lf", &count) == 1)
			break;
	fclose(said);
	errno = 0;
	if (count <= 0)
		die("no aggregate query was answered");
	return count;
}

static void oltp(bool mixed, unsigned int cpus, const char *seed, const char *seconds,
		 const char *script)
{
	static uint64_t samples[MAX_SAMPLES];
	char clients[16], random[64];
	char *const load[] = {
		(char *)program("pgbench"), "-U", "postgres", "-h", here, "-n", "-M", "prepared", "-N", "-c",
		OLTP_CLIENTS, "-j", "1", "-R", OLTP_PER_S, "-T", (char *)seconds, "-l",
		"--log-prefix=" LOG, random, "postgres", NULL,
	};
	char *const queries[] = {
		(char *)program("pgbench"), "-U", "postgres", "-h", here, "-n", "-f", (char *)script, "-c", clients,
		"-j", "1", "-T", (char *)seconds, "postgres", NULL,
	};
	struct hogs hogs;
	unsigned long before = 0, after = 0;
	uint64_t began;
	double took, work = 0;
	size_t count;
	pid_t batch = 0;

	snprintf(clients, sizeof(clients), "%u", cpus * CONNECTIONS_PER_CPU);
	snprintf(random, sizeof(random), "--random-seed=%s", seed);
	forget_logs();
	if (mixed) {
		batch = start(queries, "olap.out");
	} else {
		hogs_start(&hogs, cpus * HOGS_PER_CPU);
		before = hogs_work(&hogs);
	}
	began = now_ns();
	finish(start(load, "oltp.out"), "pgbench");
	took = (double)(now_ns() - began) / NS_PER_S;
	if (mixed) {
		finish(batch, "pgbench with the aggregate query");
		work = processed("olap.out") / atof(seconds);
	} else {
		after = hogs_work(&hogs);
		hogs_stop(&hogs);
		work = (double)(after - before) / took;
	}
	count = read_latencies(samples);
	errno = 0;
	if (count < 20)
		die("only %zu transactions were done", count);
	sort_samples(samples, count);
	printf("{\"metrics\": {\"transaction_p50_us\": %.1f, \"transaction_p95_us\": %.1f, "
	       "\"transaction_p99_us\": %.1f, \"transaction_p999_us\": %.1f, "
	       "\"transactions_per_s\": %.2f, \"%s\": %.3f}}\n",
	       (double)percentile(samples, count, 500), (double)percentile(samples, count, 950),
	       (double)percentile(samples, count, 990), (double)percentile(samples, count, 999),
	       (double)count / took, mixed ? "queries_per_s" : "hog_work_per_s", work);
}

static void olap(unsigned int cpus, const char *transactions, const char *script)
{
	char clients[16];
	char *const queries[] = {
		(char *)program("pgbench"), "-U", "postgres", "-h", here, "-n", "-f", (char *)script, "-c", clients,
		"-j", "1", "-t", (char *)transactions, "postgres", NULL,
	};
	struct beside beside;
	uint64_t began, took, *waits;
	size_t count;

	snprintf(clients, sizeof(clients), "%u", cpus * CONNECTIONS_PER_CPU);
	beside_start(&beside);
	sleep_until(now_ns() + 200 * NS_PER_MS);
	beside_begin(&beside);
	began = now_ns();
	finish(start(queries, "olap.out"), "pgbench");
	took = now_ns() - began;
	beside_stop(&beside);
	count = beside_waits(&beside, &waits);
	printf("{\"metrics\": {\"makespan_s\": %.4f, \"victim_wait_p50_us\": %.1f, "
	       "\"victim_wait_p99_us\": %.1f}}\n",
	       (double)took / NS_PER_S, (double)percentile(waits, count, 500) / NS_PER_US,
	       (double)percentile(waits, count, 990) / NS_PER_US);
}

int main(int argc, char **argv)
{
	unsigned int cpus;
	pid_t server;

	if (argc != 7) {
		fprintf(stderr, "usage: postgres oltp|mixed CPUS SEED SECONDS BIN SCRIPT\n"
				"       postgres olap CPUS SEED TRANSACTIONS BIN SCRIPT\n");
		return 2;
	}
	cpus = (unsigned int)read_number(argv[2], "CPUS", 1, 256);
	read_number(argv[3], "SEED", 0, UINT64_MAX);
	read_number(argv[4], "SECONDS or TRANSACTIONS", 1, 10000);
	programs = argv[5];
	if (!getcwd(here, sizeof(here)))
		die("know where I am");
	use_exact_timers();
	server = serve();
	if (!strcmp(argv[1], "olap"))
		olap(cpus, argv[4], argv[6]);
	else
		oltp(!strcmp(argv[1], "mixed"), cpus, argv[3], argv[4], argv[6]);
	fflush(stdout);
	if (kill(server, SIGINT))
		die("the server is gone");
	finish(server, "the server");
	return 0;
}
