#include "cp_ring.h"

void cp_ring_init(cp_ring *ring, uint8_t *bytes, uint32_t size)
{
    ring->bytes = bytes;
    ring->mask = size - 1u;
    ring->written = 0u;
    ring->taken = 0u;
    ring->num_dropped = 0u;
    ring->most_queued = 0u;
}

uint32_t cp_ring_queued(const cp_ring *ring)
{
    return ring->written - ring->taken;
}

cp_ring_result cp_ring_put(cp_ring *ring, const uint8_t *message, size_t length)
{
    const uint32_t queued = cp_ring_queued(ring);
    const uint32_t start = ring->written;
    if (length > (size_t)(ring->mask + 1u - queued)) {
        ring->num_dropped++;
        return CP_RING_FULL;
    }
    for (size_t k = 0; k < length; k++) {
        ring->bytes[(start + (uint32_t)k) & ring->mask] = message[k];
    }
    ring->written = start + (uint32_t)length;
    if (queued + (uint32_t)length > ring->most_queued) {
        ring->most_queued = queued + (uint32_t)length;
    }
    return CP_RING_OK;
}

const uint8_t *cp_ring_peek(const cp_ring *ring, uint32_t *length)
{
    const uint32_t queued = cp_ring_queued(ring);
    const uint32_t at = ring->taken & ring->mask;
    const uint32_t to_end = ring->mask + 1u - at;
    *length = queued < to_end ? queued : to_end;
    return queued == 0u ? NULL : ring->bytes + at;
}

void cp_ring_take(cp_ring *ring, uint32_t length)
{
    ring->taken += length;
}
