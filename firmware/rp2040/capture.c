#include "capture.h"

#include "cp_ticks.h"
#include "registers.h"

/* 3.4: instructions of the state machines. */
enum { ALWAYS = 0u, X_DECREMENT = 2u, PIN = 6u };
#define JMP(condition, to) (0x0000u | (condition) << 5 | (to))
#define MOV_ISR_NOT_X 0xA0C9u
#define MOV_X_NOT_NULL 0xA02Bu
#define MOV_X_OSR 0xA027u
#define PUSH 0x8000u
#define PULL 0x80A0u

/* X counts down from ~0, so ~X counts ticks. Each `jmp x--` goes to the next instruction, or to where
 * the loop goes on: it is there to count. From any of them to the next there are 2 cycles, edge or not,
 * so that no edge costs a tick; a pin is looked at every 2 cycles, for 4 around a stamp not at all. */
enum { RISE = 0u, HIGH = 4u, LOW = 6u, LOW_END = 7u, BEAT = 8u, BEAT_WAIT = 9u, BEAT_END = 10u };
static const volatile uint16_t program[] = { /* volatile: kept as it is, for the tests to break */
    [RISE] = JMP(X_DECREMENT, 1u),
    [1] = MOV_ISR_NOT_X,
    [2] = JMP(X_DECREMENT, 3u),
    [3] = PUSH, /* without waiting: a full queue drops the edge and is told in FDEBUG */
    [HIGH] = JMP(X_DECREMENT, 5u),
    [5] = JMP(PIN, HIGH),
    [LOW] = JMP(X_DECREMENT, LOW_END), /* begin here; the loop wraps from LOW_END */
    [LOW_END] = JMP(PIN, RISE),
    [BEAT] = MOV_X_OSR,
    [BEAT_WAIT] = JMP(X_DECREMENT, BEAT_WAIT),
    [BEAT_END] = PUSH,
};

enum { BEATER = 3u, NUM_MACHINES = 4u };
#define BEAT_REST (BEAT_CYCLES - 3u) /* a beat is the count, one cycle for it to end, MOV and PUSH */

#define RING_WORDS 1024u
#define RING_BITS 12u /* of its 4096 bytes */
#define DMA_ENDLESS 0xFFFFFFFFu

typedef struct {
    uint32_t seen;  /* transfers of the DMA that were taken, of those since it was started */
    uint32_t index; /* of the next word */
} reader;

static volatile uint32_t rings[CAPTURE_INPUTS][RING_WORDS] __attribute__((aligned(4096)));
static reader readers[CAPTURE_INPUTS];
static uint32_t num_overrun;

static void start_dma(uint32_t input)
{
    REG(DMA(input, DMA_READ)) = PIO_RXF(input);
    REG(DMA(input, DMA_WRITE)) = (uint32_t)(uintptr_t)rings[input];
    REG(DMA(input, DMA_COUNT)) = DMA_ENDLESS;
    REG(DMA(input, DMA_CTRL_TRIGGER)) = 1u << 21                       /* no interrupt */
                                        | DREQ_PIO0_RX(input) << 15    /* as words come */
                                        | input << 11                  /* chains to none */
                                        | 1u << 10 | RING_BITS << 6    /* the written end is a ring */
                                        | 1u << 5 | 2u << 2 | 2u | 1u; /* words, first of all, on */
}

void capture_start(void)
{
    for (uint32_t k = 0; k < sizeof program / sizeof program[0]; k++) {
        REG(PIO_MEMORY(k)) = program[k];
    }
    for (uint32_t input = 0; input < CAPTURE_INPUTS; input++) {
        REG(PAD(PIN_PPS + input)) = 0x46u; /* input, Schmitt trigger, pulled down */
        REG(IO_CTRL(PIN_PPS + input)) = FUNCTION_PIO0;
        REG(PIO_EXECCTRL(input)) = (PIN_PPS + input) << 24 | LOW_END << 12 | LOW << 7;
        REG(PIO_SHIFTCTRL(input)) = 1u << 31 | 3u << 18; /* both queues for receiving */
        REG(PIO_INSTR(input)) = MOV_X_NOT_NULL;
        REG(PIO_INSTR(input)) = JMP(ALWAYS, LOW);
        start_dma(input);
    }
    REG(PIO_EXECCTRL(BEATER)) = BEAT_END << 12 | BEAT << 7;
    REG(PIO_TXF(BEATER)) = BEAT_REST;
    REG(PIO_INSTR(BEATER)) = PULL;
    REG(PIO_INSTR(BEATER)) = JMP(ALWAYS, BEAT);
    REG(PIO_IRQ0_INTE) = 1u << BEATER;
    /* All at once: whatever delays them, delays them all. */
    REG(PIO_CTRL) = 0xFu << 8 | 0xFu;
}

uint64_t capture_beat_tick(uint64_t beat)
{
    /* An edge seen in cycle c has the tick (c + 3) / 2; the beat's PUSH is in cycle (n + 1) periods - 1. */
    return (beat + 1u) * BEAT_TICKS + 1u;
}

uint32_t capture_take_beats(void)
{
    uint32_t num = 0u;
    while (!(REG(PIO_FSTAT) & 1u << (8u + BEATER))) {
        (void)REG(PIO_RXF(BEATER));
        num++;
    }
    return num;
}

bool capture_peek(uint32_t input, uint32_t *raw)
{
    reader *at = &readers[input];
    const uint32_t done = DMA_ENDLESS - REG(DMA(input, DMA_COUNT));
    uint32_t waiting = done - at->seen;
    if (waiting == 0u) {
        if (!(REG(DMA(input, DMA_CTRL_TRIGGER)) & DMA_BUSY)) { /* after 2^32 edges */
            at->seen = 0u;
            REG(DMA(input, DMA_COUNT_TRIGGER)) = DMA_ENDLESS;
        }
        return false;
    }
    if (waiting > RING_WORDS) { /* the oldest were written over */
        const uint32_t lost = waiting - RING_WORDS;
        num_overrun += lost;
        at->seen += lost;
        at->index = (at->index + lost) % RING_WORDS;
    }
    *raw = rings[input][at->index];
    return true;
}

void capture_take(uint32_t input)
{
    readers[input].seen++;
    readers[input].index = (readers[input].index + 1u) % RING_WORDS;
}

uint32_t capture_count_overrun(void)
{
    const uint32_t dropped = REG(PIO_FDEBUG) & 0x7u; /* a queue was full: how many were lost is unknown */
    if (dropped != 0u) {
        REG(PIO_FDEBUG) = dropped;
        num_overrun++;
    }
    return num_overrun;
}
