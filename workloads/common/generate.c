/*
 * Makes input for batches: the same bytes for the same arguments, on every machine.
 *
 *   generate text|log|source BYTES SEED > FILE
 *
 * text    words of a Zipf-like vocabulary, in sentences: compresses about as prose does
 * log     lines of a web service's access log, ids and latencies included
 * source  functions of a tiny three-address language, for longtail-spin's compiler
 */
#include <inttypes.h>
#include <stdbool.h>

#include "die.h"
#include "random.h"

static uint64_t state;
static uint64_t written, wanted;

__attribute__((format(printf, 1, 2))) static void emit(const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vprintf(format, arguments);
	va_end(arguments);
	if (length < 0)
		die("write");
	written += (uint64_t)length;
}

/* Small indexes are far more likely than large ones: the product of two uniform draws. */
static uint64_t skewed(uint64_t bound)
{
	return random_below(&state, random_below(&state, bound) + 1);
}

static void text(void)
{
	enum { WORDS = 4000, LONGEST = 12 };
	static char word[WORDS][LONGEST + 1];

	for (int i = 0; i < WORDS; i++) {
		uint64_t length = 2 + random_below(&state, LONGEST - 1);

		for (uint64_t k = 0; k < length; k++)
			word[i][k] = k % 2 ? "aeiou"[random_below(&state, 5)] :
					     "bcdfghlmnprstvwz"[random_below(&state, 16)];
	}
	while (written < wanted) {
		uint64_t words = 4 + random_below(&state, 16);

		for (uint64_t i = 0; i < words; i++)
			emit(i ? " %s" : "%s", word[skewed(WORDS)]);
		emit(random_below(&state, 5) ? ". " : ".\n");
	}
}

static void access_log(void)
{
	static const char *const path[] = { "orders", "users", "cart",	  "search",
					    "login",  "items", "reviews", "health" };
	static const int status[] = { 200, 200, 200, 200, 200, 201, 204, 301, 404, 500 };
	uint64_t ms = 0;

	while (written < wanted) {
		uint64_t latency_us = 200 + skewed(20000) * skewed(50);

		ms += random_below(&state, 20);
		emit("2025-11-%02" PRIu64 "T%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64
		     "Z web-%02" PRIu64 " %s /api/%s/%" PRIu64 " %d %" PRIu64 " %" PRIu64 "\n",
		     1 + ms / 86400000 % 28, ms / 3600000 % 24, ms / 60000 % 60, ms / 1000 % 60,
		     ms % 1000, random_below(&state, 40),
		     random_below(&state, 4) ? "GET" : "POST", path[skewed(8)],
		     random_below(&state, 1000000), status[random_below(&state, 10)],
		     100 + skewed(100000), latency_us);
	}
}

static void source(void)
{
	enum { VARIABLES = 48 };

	for (uint64_t function = 0; written < wanted; function++) {
		uint64_t lines = 60 + random_below(&state, 80);

		emit("fn f%" PRIu64 "\n", function);
		for (uint64_t i = 0; i < lines; i++) {
			uint64_t a = random_below(&state, VARIABLES), b = skewed(VARIABLES),
				 c = skewed(VARIABLES);

			switch (random_below(&state, 8)) {
			case 0:
				emit("v%" PRIu64 " = %" PRIu64 "\n", a, random_below(&state, 16));
				break;
			case 1:
				emit("if v%" PRIu64 " < v%" PRIu64 " goto %" PRIu64 "\n", b, c,
				     random_below(&state, lines));
				break;
			default:
				emit("v%" PRIu64 " = v%" PRIu64 " %c v%" PRIu64 "\n", a, b,
				     "+-*&|^"[random_below(&state, 6)], c);
			}
		}
		emit("end\n");
	}
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("usage: generate text|log|source BYTES SEED");
	wanted = read_number(argv[2], "BYTES", 1, 1ULL << 32);
	state = read_number(argv[3], "SEED", 0, UINT64_MAX);
	if (!strcmp(argv[1], "text"))
		text();
	else if (!strcmp(argv[1], "log"))
		access_log();
	else if (!strcmp(argv[1], "source"))
		source();
	else
		die("unknown kind '%s'", argv[1]);
	if (fclose(stdout))
		die("write");
	return 0;
}
