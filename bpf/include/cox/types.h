/* SPDX-License-Identifier: GPL-2.0-only */
/* Fixed-width types and the attributes that frame and hooks share. */
#ifndef COX_TYPES_H
#define COX_TYPES_H

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define COX_INLINE static inline __attribute__((always_inline))

/*
 * The kernel verifies a global function once, for any argument; this tag (kernel >= 6.8,
 * kernel/bpf/btf.c: btf_prepare_func_args) says that callers never pass NULL.
 */
#define COX_NONNULL __attribute__((btf_decl_tag("arg:nonnull")))

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

COX_INLINE s64 cox_clamp_s64(s64 value, s64 low, s64 high)
{
	return value < low ? low : value > high ? high : value;
}

COX_INLINE u64 cox_clamp_u64(u64 value, u64 low, u64 high)
{
	return value < low ? low : value > high ? high : value;
}

COX_INLINE u64 cox_min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

COX_INLINE u64 cox_max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

#endif
