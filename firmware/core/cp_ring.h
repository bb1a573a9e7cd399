/* A ring of bytes that holds whole messages: one writer, one reader.
 *
 * A message that does not fit is refused whole, so that the reader never sees a half one. The reader
 * may take bytes in any pieces, as a DMA does. Writer and reader may be an interrupt and the program
 * that it interrupts: each writes only its own index. */
#ifndef CP_RING_H
#define CP_RING_H

#include "cp_types.h"

typedef struct {
    uint8_t *bytes;              /* the caller's, `size` of them, for as long as the ring is used */
    uint32_t mask;               /* size - 1 */
    volatile uint32_t written;   /* bytes ever put, modulo 2^32; the writer's */
    volatile uint32_t taken;     /* bytes ever taken, modulo 2^32; the reader's */
    uint32_t num_dropped;        /* messages refused; the writer's */
    uint32_t most_queued;        /* most bytes queued since it was set to 0; the writer's */
} cp_ring;

typedef enum {
    CP_RING_OK = 0,
    CP_RING_FULL, /* refused and counted; the ring is as it was */
} cp_ring_result;

/* size: a power of two, at most 2^31. */
void cp_ring_init(cp_ring *ring, uint8_t *bytes, uint32_t size);

cp_ring_result cp_ring_put(cp_ring *ring, const uint8_t *message, size_t length);

/* Bytes queued. */
uint32_t cp_ring_queued(const cp_ring *ring);

/* The longest run of queued bytes that lie in a row; NULL and 0 where there are none. They stay until
 * `cp_ring_take`. */
const uint8_t *cp_ring_peek(const cp_ring *ring, uint32_t *length);

/* The reader is done with so many bytes, at most what `cp_ring_queued` says. */
void cp_ring_take(cp_ring *ring, uint32_t length);

#endif
