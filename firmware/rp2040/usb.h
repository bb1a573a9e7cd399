/* A serial port over USB (CDC ACM), by its own small device stack: sends a ring while a host has the
 * port open (DTR). A host that opens it at 1200 baud restarts the board to be flashed. */
#ifndef USB_H
#define USB_H

#include "cp_ring.h"

/* number: the board's, for the serial number that the host shows; kept as text. */
void usb_start(cp_ring *ring, const uint8_t number[8]);

/* Whether a host has the port open: nothing is worth putting into the ring otherwise. */
bool usb_is_open(void);

/* Send what the ring holds, unless something is being sent already. */
void usb_kick(void);

void usb_interrupt(void);

#endif
