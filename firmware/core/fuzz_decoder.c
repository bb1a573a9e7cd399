/* Feeds anything to the decoder and the clock, for libFuzzer (-DCP_LIBFUZZER with clang) or, with its
 * own main, for a sanitized run anywhere: `fuzz_decoder ROUNDS SEED`. It checks that what decodes
 * encodes to the same frame, that nothing is read or written out of place (the sanitizers do), and that
 * the clock's answers stay within what its header promises. */
#include "cp_frame.h"
#include "cp_pps.h"
#include "cp_records.h"
#include "cp_ring.h"
#include "cp_ticks.h"

#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void check_record(const cp_decoder *decoder)
{
    uint8_t frame[CP_FRAME_MOST];
    const size_t length = cp_frame_encode(decoder->record, decoder->length, frame);
    must(length >= 5u && length <= CP_FRAME_MOST && frame[length - 1u] == 0u);
    cp_decoder again;
    cp_decoder_init(&again);
    for (size_t k = 0; k + 1u < length; k++) {
        must(frame[k] != 0u && cp_decoder_push(&again, frame[k]) == CP_FRAME_NONE);
    }
    must(cp_decoder_push(&again, 0u) == CP_FRAME_RECORD && again.length == decoder->length);
    must(memcmp(again.record, decoder->record, again.length) == 0);
}

static void check_clock(const uint8_t *data, size_t size)
{
    cp_pps clock;
    cp_pps_init(&clock);
    uint64_t tick = 0u;
    for (size_t k = 0; k + 4u < size; k += 5u) {
        const uint32_t step = (uint32_t)data[k] | (uint32_t)data[k + 1u] << 8
                              | (uint32_t)data[k + 2u] << 16 | (uint32_t)data[k + 3u] << 24;
        tick += data[k + 4u] % 4u == 0u ? step : CP_TICK_HZ + step % 100u;
        if (data[k + 4u] % 8u == 1u) {
            cp_pps_pass(&clock, tick);
        }
        const cp_judged judged = cp_pps_push(&clock, tick);
        must(judged.residual_ns == INT32_MIN
             || (judged.residual_ns >= -600000000 && judged.residual_ns <= 600000000));
        uint32_t second = 0u;
        uint32_t ns = 0u;
        if (cp_pps_time(&clock, tick + step % 1000u, &second, &ns) == CP_TIME_OK) {
            must(ns < CP_NS_PER_S && clock.sigma_ns != UINT32_MAX);
        }
        const int32_t rate = cp_pps_rate_ppb(&clock);
        must(rate == INT32_MIN || (rate > -510000 && rate < 510000));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cp_decoder decoder;
    uint8_t bytes[128];
    cp_ring ring;
    cp_decoder_init(&decoder);
    cp_ring_init(&ring, bytes, sizeof bytes);
    for (size_t k = 0; k < size; k++) {
        if (cp_decoder_push(&decoder, data[k]) == CP_FRAME_RECORD) {
            check_record(&decoder);
            (void)cp_ring_put(&ring, decoder.record, decoder.length);
        }
        if (data[k] % 3u == 0u) {
            uint32_t length = 0u;
            (void)cp_ring_peek(&ring, &length);
            cp_ring_take(&ring, length);
        }
        must(cp_ring_queued(&ring) <= sizeof bytes);
    }
    check_clock(data, size);
    return 0;
}

#ifndef CP_LIBFUZZER
static uint32_t draw(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Frames of random records, some of them damaged, and noise between. */
static size_t make_input(uint8_t *out, size_t room, uint32_t *state)
{
    size_t at = 0u;
    while (at + CP_FRAME_MOST + 8u < room) {
        uint8_t record[CP_RECORD_MOST];
        const size_t length = 1u + draw(state) % CP_RECORD_MOST;
        for (size_t k = 0; k < length; k++) {
            record[k] = (uint8_t)(draw(state) % 4u == 0u ? 0u : draw(state));
        }
        const size_t framed = cp_frame_encode(record, length, out + at);
        if (draw(state) % 3u == 0u) {
            out[at + draw(state) % framed] = (uint8_t)draw(state);
        }
        at += draw(state) % 5u == 0u ? framed / 2u : framed;
        if (draw(state) % 7u == 0u) {
            for (size_t k = 0; k < 8u; k++) {
                out[at++] = (uint8_t)draw(state);
            }
        }
    }
    return at;
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    uint32_t state = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) | 1u : 1u;
    uint8_t input[2048];
    for (long round = 0; round < rounds; round++) {
        (void)LLVMFuzzerTestOneInput(input, make_input(input, sizeof input, &state));
    }
    return 0;
}
#endif
