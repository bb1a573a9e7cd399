#include "cp_pps.h"

#define TICKS_PER_MS (CP_TICK_HZ / 1000)
#define TOLERANCE_TICKS ((int64_t)CP_TICK_HZ * CP_PPS_LARGEST_PPM / 1000000)
#define FORGET_RATE_TICKS (5 * (uint64_t)CP_TICK_HZ) /* a line that is still for so long has no rate */
#define QUANTUM_NS2 (CP_TICK_NS * CP_TICK_NS / 12) /* variance of a tick's rounding */
#define LARGEST_VARIANCE_NS2 100000000             /* 10 us: keeps the products below within 64 bits */

static int64_t shift_down(int64_t value, unsigned bits)
{
    /* Rounds towards minus infinity, which C leaves open for negative values. */
    return value >= 0 ? value >> bits : -((-value + ((int64_t)1 << bits) - 1) >> bits);
}

static uint32_t root(uint64_t value)
{
    uint64_t rest = value;
    uint64_t result = 0u;
    uint64_t bit = 1u;
    while (bit <= value >> 2) {
        bit <<= 2;
    }
    for (; bit != 0u; bit >>= 2) {
        if (rest >= result + bit) {
            rest -= result + bit;
            result = (result >> 1) + bit;
        } else {
            result >>= 1;
        }
    }
    return (uint32_t)result;
}

static const cp_pulse *reference(const cp_pps *clock)
{
    return &clock->kept[clock->num_kept - 1u];
}

static int64_t since_reference(const cp_pps *clock, uint64_t tick)
{
    const uint64_t from = reference(clock)->tick;
    return tick >= from ? (int64_t)(tick - from) : -(int64_t)(from - tick);
}

static int64_t period_ticks(const cp_pps *clock)
{
    return CP_TICK_HZ + shift_down((int64_t)clock->excess_q16 + 0x8000, 16);
}

void cp_pps_init(cp_pps *clock)
{
    const cp_pps blank = {0};
    *clock = blank;
    clock->sigma_ns = UINT32_MAX;
}

/* Fit the line to the kept pulses, seconds u before the reference and ticks v beyond the nominal. */
static void fit(cp_pps *clock)
{
    const cp_pulse *last = reference(clock);
    int64_t u[CP_PPS_KEPT];
    int64_t v[CP_PPS_KEPT];
    int64_t sum_u = 0;
    int64_t sum_v = 0;
    int64_t sum_uu = 0;
    int64_t sum_uv = 0;
    const int64_t n = (int64_t)clock->num_kept;
    for (uint32_t k = 0; k < clock->num_kept; k++) {
        u[k] = -(int64_t)(last->second - clock->kept[k].second);
        v[k] = since_reference(clock, clock->kept[k].tick) - u[k] * CP_TICK_HZ;
        sum_u += u[k];
        sum_v += v[k];
        sum_uu += u[k] * u[k];
        sum_uv += u[k] * v[k];
    }
    const int64_t determinant = n * sum_uu - sum_u * sum_u;
    const int64_t excess_q16 = (n * sum_uv - sum_u * sum_v) * 65536 / determinant;
    clock->excess_q16 = (int32_t)excess_q16;
    clock->offset_q16 = (sum_v * 65536 - excess_q16 * sum_u) / n;
    clock->correction_q36 = -(excess_q16 * ((int64_t)1 << 24)) / period_ticks(clock);
    int64_t squares = 0;
    for (uint32_t k = 0; k < clock->num_kept; k++) {
        const int64_t residual_q16 = v[k] * 65536 - clock->offset_q16 - excess_q16 * u[k];
        const int64_t residual_ns = residual_q16 * CP_TICK_NS / 65536;
        squares += residual_ns * residual_ns;
    }
    int64_t variance = squares / (n - 2);
    if (variance < QUANTUM_NS2) {
        variance = QUANTUM_NS2;
    }
    clock->variance_ns2 = variance < LARGEST_VARIANCE_NS2 ? variance : LARGEST_VARIANCE_NS2;
    clock->mean_ms = -sum_u * 1000 / n;
    clock->spread_s2 = determinant / n > 0 ? determinant / n : 1;
}

/* Begin to search anew: what was found so far is no grid. */
static void restart_search(cp_pps *clock, uint64_t tick)
{
    clock->found[0].tick = tick;
    clock->num_found = 1u;
    clock->num_early = 0u;
}

/* Take a pulse into the search; whether it completes a grid of CP_PPS_ACQUIRE pulses. */
static bool search(cp_pps *clock, uint64_t tick)
{
    if (clock->num_found == 0u) {
        restart_search(clock, tick);
        return false;
    }
    const uint64_t since = tick - clock->found[clock->num_found - 1u].tick;
    const int64_t beyond = (int64_t)(since < 2u * CP_TICK_HZ ? since : 2u * CP_TICK_HZ) - CP_TICK_HZ;
    if (beyond < -TOLERANCE_TICKS) {
        if (since > CP_PPS_BOUNCE_TICKS) {
            clock->num_early++;
        }
        return false;
    }
    if (beyond > TOLERANCE_TICKS) {
        clock->num_late++;
        if (clock->num_late >= CP_PPS_ACQUIRE - 1u && !clock->has_grid) {
            clock->state = CP_PPS_WRONG_RATE;
        }
        restart_search(clock, tick);
        return false;
    }
    clock->num_late = 0u;
    clock->found[clock->num_found].tick = tick;
    clock->num_found++;
    if (clock->num_found < CP_PPS_ACQUIRE) {
        return false;
    }
    if (clock->num_early > 1u) { /* a line of 2 Hz has three */
        if (!clock->has_grid) {
            clock->state = CP_PPS_WRONG_RATE;
        }
        restart_search(clock, tick);
        return false;
    }
    return true;
}

/* Whole seconds that passed since the reference, to the nearest. */
static uint32_t seconds_since(const cp_pps *clock, uint64_t tick)
{
    const int64_t since = since_reference(clock, tick);
    const int64_t period = period_ticks(clock);
    return since <= 0 ? 0u : (uint32_t)((since + period / 2) / period);
}

/* The grid of the found pulses. Seconds go on from an earlier grid, where there was one. */
static cp_judged adopt(cp_pps *clock)
{
    uint32_t second = 0u;
    if (clock->num_kept != 0u) { /* there was a grid once */
        second = reference(clock)->second + seconds_since(clock, clock->found[0].tick);
        clock->counts.regridded++;
    }
    for (uint32_t k = 0; k < CP_PPS_ACQUIRE; k++) {
        clock->kept[k].tick = clock->found[k].tick;
        clock->kept[k].second = second + k;
    }
    clock->num_kept = CP_PPS_ACQUIRE;
    clock->num_found = 0u;
    clock->num_missed = 0u;
    clock->has_grid = true;
    clock->state = CP_PPS_LOCKED;
    clock->counts.good++;
    fit(clock);
    clock->sigma_ns = cp_pps_sigma_after(clock, 0u);
    const cp_judged judged = {CP_PULSE_GOOD, reference(clock)->second, INT32_MIN};
    return judged;
}

static void keep(cp_pps *clock, uint64_t tick, uint32_t second)
{
    uint32_t first = clock->num_kept == CP_PPS_KEPT ? 1u : 0u;
    while (first < clock->num_kept && second - clock->kept[first].second > CP_PPS_KEPT_S
           && clock->num_kept - first > 2u) {
        first++;
    }
    for (uint32_t k = first; k < clock->num_kept; k++) {
        clock->kept[k - first] = clock->kept[k];
    }
    clock->num_kept -= first;
    clock->kept[clock->num_kept].tick = tick;
    clock->kept[clock->num_kept].second = second;
    clock->num_kept++;
}

static cp_judged judge(cp_pps *clock, uint64_t tick)
{
    const uint32_t steps = seconds_since(clock, tick);
    const int64_t since = since_reference(clock, tick);
    const int64_t line_q16 = (int64_t)steps * ((int64_t)CP_TICK_HZ * 65536 + clock->excess_q16)
                             + clock->offset_q16;
    const int64_t residual_ns = shift_down((since * 65536 - line_q16) * CP_TICK_NS, 16);
    const int64_t size_ns = residual_ns < 0 ? -residual_ns : residual_ns;
    const int64_t gate_ns = (int64_t)CP_PPS_GATE_NS
                            + 4 * (int64_t)cp_pps_sigma_after(clock, (uint32_t)(since / TICKS_PER_MS));
    cp_judged judged = {CP_PULSE_GOOD, UINT32_MAX, (int32_t)residual_ns};
    if (steps == 0u && (size_ns <= gate_ns || since < CP_PPS_BOUNCE_TICKS)) {
        judged.verdict = CP_PULSE_DOUBLED;
        clock->counts.doubled++;
        return judged;
    }
    if (steps == 0u || size_ns > gate_ns) {
        if (search(clock, tick)) {
            return adopt(clock);
        }
        judged.verdict = CP_PULSE_SPURIOUS;
        clock->counts.spurious++;
        return judged;
    }
    if (steps - 1u > clock->num_missed) {
        clock->counts.missed += steps - 1u - clock->num_missed;
    }
    judged.second = reference(clock)->second + steps;
    keep(clock, tick, judged.second);
    fit(clock);
    clock->num_missed = 0u;
    clock->num_found = 0u;
    clock->num_early = 0u;
    clock->num_late = 0u;
    clock->counts.good++;
    clock->state = CP_PPS_LOCKED;
    clock->sigma_ns = cp_pps_sigma_after(clock, 0u);
    return judged;
}

cp_judged cp_pps_push(cp_pps *clock, uint64_t tick)
{
    cp_pps_pass(clock, tick);
    if (clock->has_grid) {
        return judge(clock, tick);
    }
    if (search(clock, tick)) {
        return adopt(clock);
    }
    clock->counts.searching++;
    const cp_judged judged = {CP_PULSE_SEARCHING, UINT32_MAX, INT32_MIN};
    return judged;
}

void cp_pps_pass(cp_pps *clock, uint64_t tick)
{
    if (!clock->has_grid) {
        if (clock->state == CP_PPS_WRONG_RATE
            && tick > clock->found[clock->num_found - 1u].tick + FORGET_RATE_TICKS) {
            clock->state = CP_PPS_SEARCHING;
            clock->num_found = 0u;
            clock->num_late = 0u;
        }
        return;
    }
    const int64_t since = since_reference(clock, tick);
    if (since <= 0) {
        return;
    }
    if (since > (int64_t)CP_PPS_HOLDOVER_S * CP_TICK_HZ) {
        clock->has_grid = false;
        clock->state = CP_PPS_SEARCHING;
        clock->sigma_ns = UINT32_MAX;
        clock->num_found = 0u;
        return;
    }
    const uint32_t steps = seconds_since(clock, tick);
    const uint32_t num_missed = steps > 0u ? steps - 1u : 0u;
    if (num_missed > clock->num_missed) {
        clock->counts.missed += num_missed - clock->num_missed;
        clock->num_missed = num_missed;
        clock->state = CP_PPS_HOLDOVER;
    }
    clock->sigma_ns = cp_pps_sigma_after(clock, (uint32_t)(since / TICKS_PER_MS));
}

cp_time_result cp_pps_time(const cp_pps *clock, uint64_t tick, uint32_t *second, uint32_t *ns)
{
    if (!clock->has_grid) {
        return CP_TIME_UNKNOWN;
    }
    const int64_t since = since_reference(clock, tick);
    const int64_t most = (int64_t)(CP_PPS_HOLDOVER_S + 2u) * CP_TICK_HZ;
    if (since > most || since < -most) {
        return CP_TIME_UNKNOWN;
    }
    const int64_t line_q16 = (since * 65536 - clock->offset_q16) * CP_TICK_NS
                             + shift_down(since * clock->correction_q36, 20);
    int64_t rest = shift_down(line_q16 + 0x8000, 16);
    uint32_t whole = reference(clock)->second;
    while (rest < 0) {
        if (whole == 0u) {
            return CP_TIME_UNKNOWN; /* before the first second there was */
        }
        rest += CP_NS_PER_S;
        whole--;
    }
    while (rest >= CP_NS_PER_S) {
        rest -= CP_NS_PER_S;
        whole++;
    }
    *second = whole;
    *ns = (uint32_t)rest;
    return CP_TIME_OK;
}

int32_t cp_pps_rate_ppb(const cp_pps *clock)
{
    if (!clock->has_grid) {
        return INT32_MIN;
    }
    return (int32_t)shift_down((int64_t)clock->excess_q16 * CP_TICK_NS + 0x8000, 16);
}

uint32_t cp_pps_sigma_after(const cp_pps *clock, uint32_t elapsed_ms)
{
    if (!clock->has_grid) {
        return UINT32_MAX;
    }
    const int64_t most_ms = (int64_t)(CP_PPS_HOLDOVER_S + 2u) * 1000;
    const int64_t elapsed = elapsed_ms < most_ms ? (int64_t)elapsed_ms : most_ms;
    const int64_t arm_ms = elapsed + clock->mean_ms;
    int64_t variance = QUANTUM_NS2 + clock->variance_ns2 / (int64_t)clock->num_kept;
    variance += clock->variance_ns2 * arm_ms * arm_ms / (clock->spread_s2 * 1000000);
    variance += (int64_t)(CP_PPS_WANDER_NS * CP_PPS_WANDER_NS) * elapsed * elapsed * elapsed / 3000000000;
    return root((uint64_t)variance) + 1u; /* rounded up: none claims to be better than it is */
}
