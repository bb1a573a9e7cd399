/* What all of the probe's core shares. Portable C99: no allocation, no floating point, no I/O; every
 * object is the caller's, and nothing here keeps a pointer beyond the call that was given it, but for
 * the ring, which borrows its storage until it is initialised anew. */
#ifndef CP_TYPES_H
#define CP_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Refuses to compile where `is_so` does not hold; C99 has no _Static_assert. */
#define CP_ASSERT_JOIN(a, b) a##b
#define CP_ASSERT_NAME(line) CP_ASSERT_JOIN(cp_assert_at_line_, line)
#define CP_STATIC_ASSERT(is_so) typedef char CP_ASSERT_NAME(__LINE__)[(is_so) ? 1 : -1]

#define CP_PROTOCOL_VERSION 1u

#define CP_NS_PER_S 1000000000

/* A tick of the counter: 2 cycles of 125 MHz. Every port counts in this. */
#define CP_TICK_NS 16
#define CP_TICK_HZ 62500000
CP_STATIC_ASSERT(CP_TICK_NS * CP_TICK_HZ == CP_NS_PER_S);

#endif
