/*
 * A compiler in miniature: reads functions of a three-address language from stdin and writes one
 * line for each.
 *
 * It works as compilers do: the whole source in memory first, then function by function a list of
 * instructions, constant folding over a hash table of values, a flow graph, liveness to a fixed
 * point, and a linear scan over registers. Branches that depend on data, chased pointers, small
 * allocations.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <unistd.h>

#include "die.h"

enum { VARIABLES = 48, REGISTERS = 12, BUCKETS = 1024 };

struct instruction {
	struct instruction *next;
	int target, left, right; /* variables; target -1 for a branch */
	char operation; /* '=' for a constant, '<' for a branch */
	int64_t constant, goal;
	uint64_t live_in, live_out;
};

struct value { /* what is known to be computed already: a chained hash table */
	struct value *next;
	uint64_t key;
	int number;
};

struct function {
	struct instruction *first, **line;
	int64_t lines;
};

static char *source, *at, *end;

static void read_source(void)
{
	size_t size = 0, room = 1 << 16;

	source = malloc(room);
	for (;;) {
		ssize_t got;

		if (!source)
			die("memory for the source");
		got = read(0, source + size, room - size);
		if (got < 0)
			die("read the source");
		if (!got)
			break;
		size += (size_t)got;
		if (size == room)
			source = realloc(source, room *= 2);
	}
	at = source;
	end = source + size;
}

static void skip_space(void)
{
	while (at < end && (*at == ' ' || *at == '\n'))
		at++;
}

static bool accept(const char *word)
{
	size_t length = strlen(word);

	skip_space();
	if ((size_t)(end - at) < length || memcmp(at, word, length))
		return false;
	at += length;
	return true;
}

static void expect(const char *word)
{
	if (!accept(word)) {
		errno = 0;
		die("expected '%s' at byte %td", word, at - source);
	}
}

static int64_t number(void)
{
	int64_t value = 0;

	skip_space();
	while (at < end && *at >= '0' && *at <= '9')
		value = value * 10 + (*at++ - '0');
	return value;
}

static int variable(void)
{
	expect("v");
	return (int)(number() % VARIABLES);
}

static struct instruction *parse_line(void)
{
	struct instruction *new = calloc(1, sizeof(*new));

	if (!new)
		die("memory for an instruction");
	if (accept("if")) {
		new->target = -1;
		new->operation = '<';
		new->left = variable();
		expect("<");
		new->right = variable();
		expect("goto");
		new->goal = number();
		return new;
	}
	new->target = variable();
	expect("=");
	skip_space();
	if (at < end && *at != 'v') {
		new->operation = '=';
		new->constant = number();
		return new;
	}
	new->left = variable();
	skip_space();
	new->operation = at < end ? *at++ : '+';
	new->right = variable();
	return new;
}

static struct function parse(void)
{
	struct function function = { 0 };
	struct instruction **last = &function.first, *one;
	int64_t i = 0;

	expect("f");
	number();
	while (!accept("end")) {
		*last = parse_line();
		last = &(*last)->next;
		function.lines++;
	}
	function.line = calloc((size_t)function.lines + 1, sizeof(*function.line));
	if (!function.line)
		die("memory for a function");
	for (one = function.first; one; one = one->next)
		function.line[i++] = one;
	return function;
}

/* Counts computations that were made before with the same operands (local value numbering). */
static int redundant(const struct function *function)
{
	struct value *bucket[BUCKETS] = { 0 }, *value;
	int numbered[VARIABLES], next = VARIABLES, found = 0;

	for (int i = 0; i < VARIABLES; i++)
		numbered[i] = i;
	for (struct instruction *one = function->first; one; one = one->next) {
		uint64_t key;

		if (one->target < 0)
			continue;
		key = one->operation == '=' ?
			      (uint64_t)one->constant << 8 | '=' :
			      ((uint64_t)numbered[one->left] << 36 | (uint64_t)numbered[one->right] << 8 |
			       (uint64_t)one->operation);
		for (value = bucket[key * 0x9e3779b97f4a7c15ULL >> 54]; value; value = value->next)
			if (value->key == key)
				break;
		if (value) {
			found++;
		} else {
			value = malloc(sizeof(*value));
			if (!value)
				die("memory for a value");
			*value = (struct value){ .next = bucket[key * 0x9e3779b97f4a7c15ULL >> 54],
						 .key = key,
						 .number = next++ };
			bucket[key * 0x9e3779b97f4a7c15ULL >> 54] = value;
		}
		numbered[one->target] = value->number;
	}
	for (int i = 0; i < BUCKETS; i++)
		while ((value = bucket[i])) {
			bucket[i] = value->next;
			free(value);
		}
	return found;
}

/* Which variables are needed before and after each line; how many passes that took. */
static int liveness(struct function *function)
{
	bool changed = true;
	int passes = 0;

	for (; changed; passes++) {
		changed = false;
		for (int64_t i = function->lines - 1; i >= 0; i--) {
			struct instruction *one = function->line[i], *after = function->line[i + 1];
			uint64_t out = after ? after->live_in : 1, in;

			if (one->target < 0)
				out |= function->line[one->goal % function->lines]->live_in;
			in = out;
			if (one->target >= 0)
				in &= ~(1ULL << one->target);
			if (one->operation != '=')
				in |= 1ULL << one->left | 1ULL << one->right;
			changed |= in != one->live_in || out != one->live_out;
			one->live_in = in;
			one->live_out = out;
		}
	}
	return passes;
}

/* Linear scan: how often no register was free. */
static int spills(const struct function *function)
{
	int holder[REGISTERS], count = 0;

	for (int i = 0; i < REGISTERS; i++)
		holder[i] = -1;
	for (struct instruction *one = function->first; one; one = one->next) {
		int free_register = -1;

		if (one->target < 0)
			continue;
		for (int i = 0; i < REGISTERS; i++) {
			if (holder[i] == one->target)
				free_register = i;
			else if (holder[i] >= 0 && one->live_out >> holder[i] & 1)
				continue;
			else if (free_register < 0)
				free_register = i;
		}
		if (free_register < 0)
			count++;
		else
			holder[free_register] = one->target;
	}
	return count;
}

int main(void)
{
	read_source();
	for (uint64_t index = 0; accept("fn"); index++) {
		struct function function = parse();
		int found = redundant(&function), passes = liveness(&function);
		struct instruction *next;

		printf("f%" PRIu64 ": %" PRId64 " lines, %d redundant, %d passes, %d spills\n", index,
		       function.lines, found, passes, spills(&function));
		for (; function.first; function.first = next) {
			next = function.first->next;
			free(function.first);
		}
		free(function.line);
	}
	skip_space();
	errno = 0;
	if (at != end)
		die("expected 'fn' at byte %td", at - source);
	if (fclose(stdout))
		die("write the result");
	return 0;
}
