/* Edges by PIO: identical programs that count ticks of 2 cycles on every path, started by one write. */
#ifndef CAPTURE_H
#define CAPTURE_H

#include "cp_types.h"

enum { CAPTURE_PPS = 0, CAPTURE_EVENT_1 = 1, CAPTURE_EVENT_2 = 2, CAPTURE_INPUTS = 3 };

#define PIN_PPS 2u /* events: the pins after it */
#define BEAT_CYCLES 1250000u
#define BEAT_HZ 100u
#define BEAT_TICKS (BEAT_CYCLES / 2u)
CP_STATIC_ASSERT(BEAT_TICKS * BEAT_HZ == CP_TICK_HZ);

void capture_start(void);

/* Tick at which the beat of this number (from 0) came: exact, since a state machine counts it that
 * started with the others. */
uint64_t capture_beat_tick(uint64_t beat);

/* From the beat's interrupt: the beats that came since the last call. */
uint32_t capture_take_beats(void);

/* The next captured tick of an input; false where there is none. */
bool capture_peek(uint32_t input, uint32_t *raw);
void capture_take(uint32_t input);

/* Once a beat: edges lost since the start, since they came faster than they were taken. */
uint32_t capture_count_overrun(void);

#endif
