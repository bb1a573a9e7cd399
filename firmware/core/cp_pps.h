/* A clock that pulses discipline: judges each pulse, fits the counter's rate, and tells the time
 * between pulses and for a while without them.
 *
 * In: ticks of a pulse line and, now and then, what tick it is now. Out: the verdict on each pulse, and
 * any tick as whole seconds and ns of the pulses. Signs: rate = counter's − true, positive: the crystal
 * is fast; residual = pulse − prediction, positive: the pulse is late.
 *
 * The line is fitted by least squares to the last CP_PPS_KEPT good pulses, so that one pulse's tick of
 * 16 ns does not become the clock's error. */
#ifndef CP_PPS_H
#define CP_PPS_H

#include "cp_types.h"

#define CP_PPS_KEPT 8u            /* pulses that the line is fitted to; at most so many seconds old: */
#define CP_PPS_KEPT_S 16u
#define CP_PPS_ACQUIRE 4u         /* pulses in a row, each a second after the other, that make a grid */
#define CP_PPS_LARGEST_PPM 500u   /* no crystal is farther off */
#define CP_PPS_GATE_NS 5000u      /* farther off the line, beyond 4 sigma, is no pulse of this second */
#define CP_PPS_BOUNCE_TICKS (CP_TICK_HZ / 100) /* so soon after a pulse, a second one is its echo */
#define CP_PPS_HOLDOVER_S 250u    /* after so long without a pulse the clock is no more */
#define CP_PPS_WANDER_NS 5u       /* the rate walks by so many ns/s in a second, by the root in more:
                                     an uncompensated crystal at rest in a room, not measured here */

typedef enum {
    CP_PPS_SEARCHING = 0, /* no grid: time is unknown */
    CP_PPS_LOCKED = 1,
    CP_PPS_HOLDOVER = 2,  /* a pulse or more are missing: time by the last rate */
    CP_PPS_WRONG_RATE = 3,/* pulses come, but not one a second: time is unknown */
} cp_pps_state;

typedef enum {
    CP_PULSE_GOOD = 0,
    CP_PULSE_SEARCHING = 1, /* there is no grid yet */
    CP_PULSE_SPURIOUS = 2,  /* off the grid */
    CP_PULSE_DOUBLED = 3,   /* its second has its pulse already */
} cp_pps_verdict;

typedef struct {
    uint32_t good;
    uint32_t missed;    /* seconds without a pulse */
    uint32_t spurious;
    uint32_t doubled;
    uint32_t searching;
    uint32_t regridded; /* the pulses moved, and the clock with them */
} cp_pps_counts;

typedef struct {
    uint64_t tick;
    uint32_t second;
} cp_pulse;

typedef struct {
    cp_pps_state state;
    cp_pps_counts counts;
    bool has_grid;
    cp_pulse kept[CP_PPS_KEPT]; /* good pulses, oldest first; the last is the reference */
    uint32_t num_kept;
    int64_t offset_q16;         /* the line at the reference pulse − its tick, ticks · 2^16 */
    int32_t excess_q16;         /* ticks a second beyond the nominal, · 2^16 */
    int64_t correction_q36;     /* ns a tick beyond CP_TICK_NS, · 2^36 */
    int64_t variance_ns2;       /* of a pulse about the line */
    int64_t mean_ms;            /* mean age of the kept pulses, ms before the reference */
    int64_t spread_s2;          /* sum of their squared distances from it */
    uint32_t sigma_ns;          /* of the time as of the last push or pass */
    uint32_t num_missed;        /* counted already since the reference */
    cp_pulse found[CP_PPS_ACQUIRE]; /* pulses a second apart, while a grid is searched */
    uint32_t num_found;
    uint32_t num_early;         /* others between them */
    uint32_t num_late;          /* times in a row that the next came too late */
} cp_pps;

typedef struct {
    cp_pps_verdict verdict;
    uint32_t second;     /* UINT32_MAX unless good */
    int32_t residual_ns; /* INT32_MIN where there is no prediction; else within ±0.5 s */
} cp_judged;

void cp_pps_init(cp_pps *clock);

/* A pulse. Ticks must not decrease from one call to the next. */
cp_judged cp_pps_push(cp_pps *clock, uint64_t tick);

/* Time passes: to be called every second or oftener, with what tick it is. Counts missed pulses, and
 * refreshes `state` and `sigma_ns`. The tick may lie before that of the last pulse. */
void cp_pps_pass(cp_pps *clock, uint64_t tick);

typedef enum {
    CP_TIME_OK = 0,
    CP_TIME_UNKNOWN, /* the clock never locked, or the tick is too far from its pulses; nothing written */
} cp_time_result;

/* A tick as the second it is in and ns since that began. */
cp_time_result cp_pps_time(const cp_pps *clock, uint64_t tick, uint32_t *second, uint32_t *ns);

/* Counter's rate − true in ppb; INT32_MIN where it is unknown. */
int32_t cp_pps_rate_ppb(const cp_pps *clock);

/* Standard deviation in ns of the time so long after the last good pulse; UINT32_MAX: unknown. */
uint32_t cp_pps_sigma_after(const cp_pps *clock, uint32_t elapsed_ms);

#endif
