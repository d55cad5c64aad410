/*
 * Log ETL: reads an access log from stdin, groups it, writes a report.
 *
 * As report scripts do, it reads all lines into memory, parses each (time, host, method, path
 * with its ids replaced, status, bytes, latency), groups by method, path and status in a hash
 * table, and sorts every group's latencies for percentiles.
 */
#include <inttypes.h>

#include "die.h"
#include "percentile.h"

enum { BUCKETS = 4096, KEY = 64 };

struct group {
	struct group *next;
	char key[KEY];
	uint64_t count, room, bytes, hours_seen; /* one bit an hour of the day */
	uint64_t *latency_us;
};

static struct group *bucket[BUCKETS];

static char **read_lines(size_t *count)
{
	size_t room = 1024, length = 0;
	char **lines = malloc(room * sizeof(*lines)), *line = NULL;

	for (*count = 0; lines && getline(&line, &length, stdin) >= 0; line = NULL, length = 0) {
		if (*count == room)
			lines = realloc(lines, (room *= 2) * sizeof(*lines));
		if (lines)
			lines[(*count)++] = line;
	}
	if (!lines || ferror(stdin))
		die("read the log");
	return lines;
}

static struct group *find(const char *key)
{
	uint64_t hash = 1469598103934665603ULL; /* FNV-1a */
	struct group *group;

	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
	for (group = bucket[hash % BUCKETS]; group; group = group->next)
		if (!strcmp(group->key, key))
			return group;
	group = calloc(1, sizeof(*group));
	if (!group)
		die("memory for a group");
	snprintf(group->key, sizeof(group->key), "%s", key);
	group->next = bucket[hash % BUCKETS];
	return bucket[hash % BUCKETS] = group;
}

static void add(struct group *group, uint64_t hour, uint64_t bytes, uint64_t latency_us)
{
	if (group->count == group->room) {
		group->room = group->room ? group->room * 2 : 64;
		group->latency_us = realloc(group->latency_us, group->room * sizeof(uint64_t));
		if (!group->latency_us)
			die("memory for a group's latencies");
	}
	group->latency_us[group->count++] = latency_us;
	group->bytes += bytes;
	group->hours_seen |= 1ULL << hour % 24;
}

static void take(const char *line)
{
	char host[16], method[8], path[40], key[KEY];
	unsigned int year, month, day, hour, minute, status;
	uint64_t bytes, latency_us;
	double second;

	if (sscanf(line, "%4u-%2u-%2uT%2u:%2u:%lfZ %15s %7s %39s %3u %" SCNu64 " %" SCNu64, &year,
		   &month, &day, &hour, &minute, &second, host, method, path, &status, &bytes,
		   &latency_us) != 12) {
		errno = 0;
		die("not a line of an access log: %.60s", line);
	}
	for (char *c = path, *into = path;; c++) { /* /api/orders/8123 is /api/orders/# */
		if (*c >= '0' && *c <= '9') {
			if (into == path || into[-1] != '#')
				*into++ = '#';
		} else if (!(*into++ = *c)) {
			break;
		}
	}
	snprintf(key, sizeof(key), "%s %s %u", method, path, status);
	add(find(key), hour, bytes, latency_us);
}

static int compare_groups(const void *left, const void *right)
{
	return strcmp((*(struct group *const *)left)->key, (*(struct group *const *)right)->key);
}

int main(void)
{
	struct group *all[BUCKETS];
	size_t lines, groups = 0;
	char **line = read_lines(&lines);

	for (size_t i = 0; i < lines; i++)
		take(line[i]);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct group *group = bucket[i]; group && groups < BUCKETS; group = group->next)
			all[groups++] = group;
	qsort(all, groups, sizeof(*all), compare_groups);
	for (size_t i = 0; i < groups; i++) {
		struct group *group = all[i];

		sort_samples(group->latency_us, group->count);
		printf("%-40s %8" PRIu64 " requests %12" PRIu64 " bytes %2d hours  p50 %" PRIu64
		       " p95 %" PRIu64 " p99 %" PRIu64 " us\n",
		       group->key, group->count, group->bytes,
		       __builtin_popcountll(group->hours_seen),
		       percentile(group->latency_us, group->count, 500),
		       percentile(group->latency_us, group->count, 950),
		       percentile(group->latency_us, group->count, 990));
	}
	if (fclose(stdout))
		die("write the report");
	return 0;
}
