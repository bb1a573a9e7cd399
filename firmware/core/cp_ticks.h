/* The 32-bit tick counter as 64 bits: it wraps every 68.7 s. */
#ifndef CP_TICKS_H
#define CP_TICKS_H

#include "cp_types.h"

/* A captured tick as 64 bits.
 *
 * near: a 64-bit reading of the same counter, within 34 s of the capture to either side (half a wrap);
 *       a port has one every 10 ms, with or without pulses.
 * raw:  what was captured.
 *
 * Before the counter's start (near < 2^31 and raw far ahead) there is nothing: the result is then 0. */
uint64_t cp_ticks_unwrap(uint64_t near, uint32_t raw);

#endif
