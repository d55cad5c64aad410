/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a BPF program of the frame needs: section names, the few helpers in use by their UAPI
 * number (include/uapi/linux/bpf.h), and the compiler's CO-RE builtins.
 */
#ifndef COX_BPF_H
#define COX_BPF_H

#include "cox/types.h"

#define SEC(name) __attribute__((section(name), used))
#define __weak __attribute__((weak))
#define __ksym __attribute__((section(".ksyms")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))

/* Map definitions in BTF: the loader reads types and numbers out of pointer types. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1
#define BPF_ANY 0
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
					 u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_probe_read_kernel)(void *dst, u32 size,
					   const void *unsafe_ptr) = (void *)113;
static long (*const bpf_probe_read_kernel_str)(void *dst, u32 size,
					       const void *unsafe_ptr) = (void *)115;
static void *(*const bpf_per_cpu_ptr)(const void *percpu_ptr, u32 cpu) = (void *)153;
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value,
					   u64 flags) = (void *)156;

/*
 * Loops that the verifier follows without unrolling (kfuncs, 6.4):
 *     bpf_iter_num_new(&it, from, to); while ((next = bpf_iter_num_next(&it))) …; destroy.
 */
struct bpf_iter_num {
	u64 __opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

#define bpf_ksym_exists(symbol) (!!(symbol))

/* CO-RE: field and enum relocations, resolved against the running kernel's BTF at load. */
#define bpf_core_field_exists(field) __builtin_preserve_field_info(field, 2)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
#define bpf_core_enum_value_exists(type, value) \
	__builtin_preserve_enum_value(*(typeof(type) *)value, 0)
#define bpf_core_enum_value(type, value) __builtin_preserve_enum_value(*(typeof(type) *)value, 1)

/*
 * struct_ops programs get their arguments as an array of u64. Unpack by position; the kernel
 * knows the types from its own prototype of the operation.
 */
#define COX_ARG(ctx, index, type) ((type)(ctx)[index])

#define barrier_var(var) asm volatile("" : "+r"(var))

#endif
