#include "uart.h"

#include "registers.h"

#define CHANNEL 3u
#define CYCLES_PER_SIXTEENTH (125000000u * 4u / UART_BAUD) /* a bit in 1/64 of 16 cycles */

static cp_ring *source;
static volatile uint32_t sending; /* bytes of the piece under way */

static void send_piece(void)
{
    uint32_t length = 0u;
    const uint8_t *bytes = cp_ring_peek(source, &length);
    sending = length;
    if (length == 0u) {
        return;
    }
    REG(DMA(CHANNEL, DMA_READ)) = (uint32_t)(uintptr_t)bytes;
    REG(DMA(CHANNEL, DMA_WRITE)) = UART_DR;
    REG(DMA(CHANNEL, DMA_COUNT)) = length;
    REG(DMA(CHANNEL, DMA_CTRL_TRIGGER)) = DREQ_UART0_TX << 15 | CHANNEL << 11 | 1u << 4 | 1u;
}

void uart_start(cp_ring *ring)
{
    source = ring;
    sending = 0u;
    REG(IO_CTRL(0u)) = FUNCTION_UART;
    REG(IO_CTRL(1u)) = FUNCTION_UART;
    REG(UART_IBRD) = CYCLES_PER_SIXTEENTH / 64u;
    REG(UART_FBRD) = CYCLES_PER_SIXTEENTH % 64u;
    REG(UART_LCR) = 3u << 5 | 1u << 4;       /* 8 bits, queues */
    REG(UART_DMACR) = 1u << 1;
    REG(UART_CR) = 1u << 9 | 1u << 8 | 1u;
    REG(DMA_INTE0) = 1u << CHANNEL;
    REG(NVIC_ENABLE) = 1u << IRQ_DMA_0;
}

void uart_kick(void)
{
    interrupts_off();
    if (sending == 0u) {
        send_piece();
    }
    interrupts_on();
}

void uart_interrupt(void)
{
    REG(DMA_INTS0) = 1u << CHANNEL;
    cp_ring_take(source, sending);
    send_piece();
}
