/* A workload that cannot measure says why on stderr and prints no number. */
#ifndef COX_DIE_H
#define COX_DIE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (error)
		fprintf(stderr, " (%s)", strerror(error));
	fputc('\n', stderr);
	exit(1);
}

/* A whole number between `low` and `high`, or the end. */
static inline unsigned long long read_number(const char *text, const char *what,
					     unsigned long long low, unsigned long long high)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < low || value > high) {
		errno = 0;
		die("%s: expected a whole number from %llu to %llu, got '%s'", what, low, high,
		    text);
	}
	return value;
}

#endif
