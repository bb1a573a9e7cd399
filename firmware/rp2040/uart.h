/* The serial port on GPIO 0: sends a ring by DMA; nothing waits for it. */
#ifndef UART_H
#define UART_H

#include "cp_ring.h"

#define UART_BAUD 921600u

void uart_start(cp_ring *ring);

/* Send what the ring holds, unless it is being sent already. */
void uart_kick(void);

/* The DMA finished a piece. */
void uart_interrupt(void);

#endif
