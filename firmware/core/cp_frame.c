#include "cp_frame.h"

uint16_t cp_crc16(const uint8_t *data, size_t length)
{
    /* By nibbles: a table of 16 fits anywhere, and 3 000 records a second need no faster one. */
    static const uint16_t table[16] = {
        0x0000u, 0x1021u, 0x2042u, 0x3063u, 0x4084u, 0x50A5u, 0x60C6u, 0x70E7u,
        0x8108u, 0x9129u, 0xA14Au, 0xB16Bu, 0xC18Cu, 0xD1ADu, 0xE1CEu, 0xF1EFu,
    };
    uint32_t crc = 0xFFFFu;
    for (size_t k = 0; k < length; k++) {
        crc = ((crc << 4) & 0xFFFFu) ^ table[(crc >> 12) ^ ((uint32_t)data[k] >> 4)];
        crc = ((crc << 4) & 0xFFFFu) ^ table[(crc >> 12) ^ ((uint32_t)data[k] & 0xFu)];
    }
    return (uint16_t)crc;
}

/* One byte more of the block that `*code_at` counts; a zero byte ends the block. */
static size_t put_byte(uint8_t *frame, size_t at, size_t *code_at, uint8_t byte)
{
    if (byte != 0u) {
        frame[at++] = byte;
        return at;
    }
    frame[*code_at] = (uint8_t)(at - *code_at);
    *code_at = at;
    return at + 1u;
}

size_t cp_frame_encode(const uint8_t *record, size_t length, uint8_t *frame)
{
    if (length > CP_RECORD_MOST) {
        return 0u;
    }
    const uint16_t crc = cp_crc16(record, length);
    size_t code_at = 0u;
    size_t at = 1u;
    for (size_t k = 0; k < length; k++) {
        at = put_byte(frame, at, &code_at, record[k]);
    }
    at = put_byte(frame, at, &code_at, (uint8_t)(crc >> 8));
    at = put_byte(frame, at, &code_at, (uint8_t)(crc & 0xFFu));
    frame[code_at] = (uint8_t)(at - code_at);
    frame[at] = 0u;
    return at + 1u;
}

void cp_decoder_init(cp_decoder *decoder)
{
    decoder->num_bytes = 0u;
    decoder->is_long = false;
    decoder->length = 0u;
}

/* Undo COBS of the gathered bytes; false where a code byte points beyond them. */
static bool unstuff(cp_decoder *decoder)
{
    size_t at = 0u;
    size_t out = 0u;
    while (at < decoder->num_bytes) {
        const size_t code = decoder->bytes[at];
        if (at + code > decoder->num_bytes) {
            return false;
        }
        for (size_t k = 1u; k < code; k++) {
            decoder->record[out++] = decoder->bytes[at + k];
        }
        at += code;
        if (at < decoder->num_bytes) {
            decoder->record[out++] = 0u;
        }
    }
    decoder->length = out;
    return true;
}

cp_frame_result cp_decoder_push(cp_decoder *decoder, uint8_t byte)
{
    if (byte != 0u) {
        if (decoder->num_bytes == CP_FRAME_MOST) {
            decoder->is_long = true;
        } else {
            decoder->bytes[decoder->num_bytes++] = byte;
        }
        return CP_FRAME_NONE;
    }
    cp_frame_result result = CP_FRAME_RECORD;
    if (decoder->is_long) {
        result = CP_FRAME_LONG;
    } else if (decoder->num_bytes == 0u) {
        result = CP_FRAME_NONE;
    } else if (!unstuff(decoder)) {
        result = CP_FRAME_COBS;
    } else if (decoder->length < 3u) {
        result = CP_FRAME_SHORT;
    } else if (decoder->length > CP_RECORD_MOST + 2u) {
        result = CP_FRAME_LONG;
    } else if (cp_crc16(decoder->record, decoder->length) != 0u) {
        result = CP_FRAME_CRC;
    } else {
        decoder->length -= 2u;
    }
    decoder->num_bytes = 0u;
    decoder->is_long = false;
    return result;
}
