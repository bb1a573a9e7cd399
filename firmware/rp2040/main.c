/* The probe: what comes in on its pins, as records on its two serial ports.
 *
 * A beat every 10 ms, counted by a state machine beside those that count edges, drives everything: its
 * interrupt begins a reading of the motion sensor, and the program then takes what was captured since
 * the last one. Nothing is stamped by software, so nothing here is urgent. */
#include "capture.h"
#include "clocks.h"
#include "cp_pps.h"
#include "cp_records.h"
#include "cp_ring.h"
#include "cp_ticks.h"
#include "imu.h"
#include "registers.h"
#include "source_id.h"
#include "uart.h"
#include "usb.h"

#define RING_BYTES 65536u
#define STATUS_BEATS (BEAT_HZ / 4u)
#define HELLO_BEATS BEAT_HZ
#define PASS_BEATS (BEAT_HZ / 10u)
#define EDGES_A_PASS 1024u /* a storm of edges must not silence the rest */
#define EDGES_A_KICK 16u
#define LED 25u

static const uint8_t version[3] = {1u, 0u, 0u};

static uint8_t uart_bytes[RING_BYTES];
static uint8_t usb_bytes[RING_BYTES];
static cp_ring uart_ring;
static cp_ring usb_ring;
static cp_pps clock;
static cp_hello hello;
static uint16_t sequence;
static int16_t centi_celsius = CP_TEMPERATURE_UNKNOWN;
static volatile uint32_t num_beats; /* since the start; wraps after 497 days */
static uint64_t num_passed;         /* beats that were dealt with */

void pio_interrupt(void);
void pio_interrupt(void)
{
    const uint32_t num = capture_take_beats();
    if (num != 0u) {
        num_beats += num;
        /* Beats that were dealt with, and those since: 32 bits of difference are enough. */
        const uint64_t beat = num_passed + (uint32_t)(num_beats - (uint32_t)num_passed);
        imu_interrupt(capture_beat_tick(beat - 1u));
    }
}

/* Send a record, wherever someone may listen. Its number counts on where there is no room: the reader
 * then sees the gap. */
static void say(const uint8_t *record, size_t length)
{
    uint8_t frame[CP_FRAME_MOST];
    const size_t framed = cp_frame_encode(record, length, frame);
    sequence++;
    (void)cp_ring_put(&uart_ring, frame, framed);
    if (usb_is_open()) {
        (void)cp_ring_put(&usb_ring, frame, framed);
    }
}

static void kick(void)
{
    uart_kick();
    usb_kick();
}

static cp_instant instant_of(uint64_t tick)
{
    cp_instant at = {0};
    at.tick = tick;
    at.is_known = cp_pps_time(&clock, tick, &at.second, &at.ns) == CP_TIME_OK;
    at.sigma_ns = clock.sigma_ns;
    return at;
}

static void say_hello(void)
{
    uint8_t record[CP_RECORD_MOST];
    hello.imu = imu_sensor();
    say(record, cp_write_hello(record, sequence, &hello));
}

static void say_status(uint64_t now)
{
    uint8_t record[CP_RECORD_MOST];
    const uint32_t queued = uart_ring.most_queued;
    const cp_status status = {
        .tick = now,
        .state = (uint8_t)clock.state,
        .sigma_ns = cp_sent_sigma(clock.sigma_ns),
        .rate_ppb = cp_pps_rate_ppb(&clock),
        .centi_celsius = centi_celsius,
        .most_queued = queued < UINT16_MAX ? (uint16_t)queued : UINT16_MAX,
        .num_dropped = uart_ring.num_dropped + usb_ring.num_dropped,
        .num_overrun = capture_count_overrun(),
        .num_imu_failed = imu_num_failed(),
        .counts = clock.counts,
    };
    uart_ring.most_queued = 0u;
    say(record, cp_write_status(record, sequence, &status));
    kick();
}

static void take_pulses(uint64_t now)
{
    uint32_t raw;
    while (capture_peek(CAPTURE_PPS, &raw)) {
        capture_take(CAPTURE_PPS);
        uint8_t record[CP_RECORD_MOST];
        const uint64_t tick = cp_ticks_unwrap(now, raw);
        const cp_judged judged = cp_pps_push(&clock, tick);
        const cp_pps_record pulse = {
            .tick = tick,
            .verdict = (uint8_t)judged.verdict,
            .state = (uint8_t)clock.state,
            .second = judged.second,
            .residual_ns = judged.residual_ns,
            .rate_ppb = cp_pps_rate_ppb(&clock),
            .sigma_ns = cp_sent_sigma(clock.sigma_ns),
        };
        say(record, cp_write_pps(record, sequence, &pulse));
        REG(judged.verdict == CP_PULSE_GOOD ? SIO_OUT_SET : SIO_OUT_CLEAR) = 1u << LED;
    }
}

static void say_edge(uint32_t input, uint64_t tick)
{
    uint8_t record[CP_RECORD_MOST];
    const cp_edge edge = {
        .input = (uint8_t)input,
        .state = (uint8_t)clock.state,
        .at = instant_of(tick),
    };
    say(record, cp_write_edge(record, sequence, &edge));
}

/* Edges of both inputs, in the order in which they came. */
static void take_edges(uint64_t now)
{
    for (uint32_t k = 0; k < EDGES_A_PASS; k++) {
        uint32_t raw1 = 0u;
        uint32_t raw2 = 0u;
        const bool has1 = capture_peek(CAPTURE_EVENT_1, &raw1);
        const bool has2 = capture_peek(CAPTURE_EVENT_2, &raw2);
        if (!has1 && !has2) {
            return;
        }
        const bool is_first = has1 && (!has2 || (int32_t)(raw1 - raw2) <= 0);
        const uint32_t input = is_first ? CAPTURE_EVENT_1 : CAPTURE_EVENT_2;
        capture_take(input);
        say_edge(input, cp_ticks_unwrap(now, is_first ? raw1 : raw2));
        if (k % EDGES_A_KICK == EDGES_A_KICK - 1u) {
            kick();
        }
    }
}

static void take_motion(void)
{
    cp_sample sample;
    if (!imu_take(&sample)) {
        return;
    }
    uint8_t record[CP_RECORD_MOST];
    sample.state = (uint8_t)clock.state;
    sample.at = instant_of(sample.at.tick);
    say(record, cp_write_sample(record, sequence, &sample));
}

/* Whether something is due that comes every so many beats; the processor has no divider. */
static bool is_due(uint32_t *left, uint32_t every)
{
    (*left)--;
    if (*left != 0u) {
        return false;
    }
    *left = every;
    return true;
}

static void pass(uint64_t beat)
{
    static uint32_t to_status = STATUS_BEATS;
    static uint32_t to_hello = HELLO_BEATS / 8u;
    static uint32_t to_pass = PASS_BEATS;
    const uint64_t now = capture_beat_tick(beat - 1u);
    if (is_due(&to_status, STATUS_BEATS)) { /* first: its arrival tells the node what tick it is */
        say_status(now);
        REG(SIO_OUT_CLEAR) = 1u << LED;
    }
    if (is_due(&to_hello, HELLO_BEATS)) {
        say_hello();
        centi_celsius = temperature_read();
        temperature_begin();
    }
    take_pulses(now);
    if (is_due(&to_pass, PASS_BEATS)) {
        cp_pps_pass(&clock, now);
    }
    take_motion();
    take_edges(now);
    imu_pass();
    kick();
    watchdog_feed();
}

int main(void)
{
    hello.reset_reason = watchdog_restarted() ? 1u : 0u;
    flash_read_number(hello.board_id);
    clocks_start();
    hello.protocol = CP_PROTOCOL_VERSION;
    hello.tick_hz = CP_TICK_HZ;
    hello.num_inputs = CAPTURE_INPUTS - 1u;
    hello.imu_period_us = 1000000u / BEAT_HZ;
    for (uint32_t k = 0; k < sizeof version; k++) {
        hello.version[k] = version[k];
    }
    for (uint32_t k = 0; k < sizeof source_id; k++) {
        hello.source_id[k] = source_id[k];
    }
    cp_pps_init(&clock);
    cp_ring_init(&uart_ring, uart_bytes, sizeof uart_bytes);
    cp_ring_init(&usb_ring, usb_bytes, sizeof usb_bytes);
    REG(IO_CTRL(LED)) = FUNCTION_SIO;
    REG(SIO_OE_SET) = 1u << LED;
    REG(NVIC_PRIORITY(1u)) = 0x80u << 8; /* USB after the serial port's DMA, the beat before both */
    REG(NVIC_PRIORITY(2u)) = 0x40u << 24;
    uart_start(&uart_ring);
    usb_start(&usb_ring, hello.board_id);
    imu_start();
    temperature_begin();
    REG(NVIC_ENABLE) = 1u << IRQ_PIO0_0;
    watchdog_start();
    capture_start();
    for (;;) {
        interrupts_off();
        if ((uint32_t)num_passed == num_beats) {
            __asm volatile("wfi"); /* wakes for what waits behind the mask, so none is slept through */
        }
        const uint64_t beat = num_passed + (uint32_t)(num_beats - (uint32_t)num_passed);
        interrupts_on();
        if (beat != num_passed) { /* every beat in its turn, late or not */
            interrupts_off();
            num_passed++;
            interrupts_on();
            pass(num_passed);
        }
    }
}

void unexpected(void);
void unexpected(void)
{
    for (;;) { /* the watchdog restarts, and the next hello says so */
    }
}

extern uint8_t stack_top[];

/* Behind the 16 of the processor, the RP2040's 26 (datasheet 2.3.2). */
typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16 + 26] = {
    [0] = (vector)stack_top,
    [1 ... 15 + IRQ_USB] = unexpected,
    [16 + IRQ_USB] = usb_interrupt,
    [17 + IRQ_USB ... 15 + IRQ_PIO0_0] = unexpected,
    [16 + IRQ_PIO0_0] = pio_interrupt,
    [17 + IRQ_PIO0_0 ... 15 + IRQ_DMA_0] = unexpected,
    [16 + IRQ_DMA_0] = uart_interrupt,
    [17 + IRQ_DMA_0 ... 41] = unexpected,
};
