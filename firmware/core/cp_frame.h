/* Frames on the wire: COBS (Cheshire and Baker, 1999) of a record and its CRC, then a zero byte.
 *
 * The CRC is CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF) over the record, high byte first, so
 * that the CRC over record and CRC is 0. Python: binascii.crc_hqx(data, 0xFFFF). */
#ifndef CP_FRAME_H
#define CP_FRAME_H

#include "cp_types.h"

#define CP_RECORD_MOST 64u                    /* bytes of the longest record */
#define CP_FRAME_MOST (CP_RECORD_MOST + 4u)   /* its CRC, one byte of COBS, the zero */
CP_STATIC_ASSERT(CP_RECORD_MOST + 2u < 254u); /* so COBS adds one byte at most */

uint16_t cp_crc16(const uint8_t *data, size_t length);

/* Frame a record.
 *
 * record: `length` bytes, at most CP_RECORD_MOST.
 * frame:  room for CP_FRAME_MOST bytes; apart from the record.
 *
 * Returns the frame's length with its zero byte; 0, and nothing written, where the record is too long. */
size_t cp_frame_encode(const uint8_t *record, size_t length, uint8_t *frame);

typedef enum {
    CP_FRAME_NONE = 0,  /* more bytes are needed */
    CP_FRAME_RECORD,    /* a record is whole: `record`, `length`, valid until the next push */
    CP_FRAME_LONG,      /* dropped: longer than any record */
    CP_FRAME_SHORT,     /* dropped: shorter than its CRC and one byte */
    CP_FRAME_COBS,      /* dropped: a code byte points beyond the frame */
    CP_FRAME_CRC,       /* dropped: wrong CRC */
} cp_frame_result;

typedef struct {
    uint8_t bytes[CP_FRAME_MOST];
    size_t num_bytes;
    bool is_long;
    uint8_t record[CP_FRAME_MOST];
    size_t length;
} cp_decoder;

void cp_decoder_init(cp_decoder *decoder);

/* One byte off the wire. After anything but CP_FRAME_NONE the decoder is at the start of a frame: noise
 * costs the frame that it falls into, and the next one at most. An empty frame (two zeros in a row) is
 * no error: a sender may send a zero first to end what noise began. */
cp_frame_result cp_decoder_push(cp_decoder *decoder, uint8_t byte);

#endif
