/* What the probe says: records of a fixed layout, little-endian, without padding.
 *
 * Every record begins with
 *     u8  type        one of CP_RECORD_*; a reader skips and counts those that it does not know
 *     u8  layout      version of this type's layout; a reader reads newer ones of the same type as
 *                     unknown
 *     u16 sequence    of all records, also those dropped for want of room: a gap is a loss
 * and continues with the fields below, in that order. `hello` comes every second and names the
 * version of the whole protocol; a reader that does not speak it stops there.
 *
 * Time. `tick` is the counter, 64 bits, 16 ns of the probe's crystal. `second` and `ns` are the same
 * instant by the pulses: whole pulses since the clock first locked, and ns since the last of them
 * (0…999 999 999); both are all ones where the clock never locked. A second is no UTC: whoever knows
 * which pulse was which second adds that. `sigma_ns` is the standard deviation of the instant, 65535:
 * that or more, or unknown. */
#ifndef CP_RECORDS_H
#define CP_RECORDS_H

#include "cp_frame.h"
#include "cp_pps.h"

enum {
    CP_RECORD_HELLO = 1,
    CP_RECORD_PPS = 2,
    CP_RECORD_EDGE = 3,
    CP_RECORD_SAMPLE = 4,
    CP_RECORD_STATUS = 5,
};

#define CP_LAYOUT 1u
#define CP_SIGMA_UNKNOWN 0xFFFFu
#define CP_TEMPERATURE_UNKNOWN INT16_MIN

/* An instant as above; with `is_known` false, second, ns and sigma are sent as unknown. */
typedef struct {
    uint64_t tick;
    bool is_known;
    uint32_t second;
    uint32_t ns;
    uint32_t sigma_ns;
} cp_instant;

typedef struct {
    uint8_t protocol;       /* CP_PROTOCOL_VERSION */
    uint8_t version[3];     /* firmware: major, minor, patch */
    uint8_t board_id[8];    /* the flash chip's own number; zeros where it gives none */
    uint32_t tick_hz;       /* nominal */
    uint8_t source_id[8];   /* of the sources it was built from: firmware/tools/source_id.py */
    uint8_t num_inputs;     /* event inputs, numbered from 1 */
    uint8_t imu;            /* WHO_AM_I of the sensor on I2C; 0: none */
    uint16_t imu_period_us; /* between its samples */
    uint8_t reset_reason;   /* 0: power or reset pin; 1: the watchdog */
} cp_hello;
#define CP_HELLO_BYTES (4u + 1u + 3u + 8u + 4u + 8u + 1u + 1u + 2u + 1u)

typedef struct {
    uint64_t tick;          /* of the pulse */
    uint8_t verdict;        /* cp_pps_verdict */
    uint8_t state;          /* cp_pps_state after it */
    uint32_t second;        /* its number; all ones unless it is good and the clock is locked */
    int32_t residual_ns;    /* pulse - prediction, positive: later; INT32_MIN: none */
    int32_t rate_ppb;       /* counter's rate - true; positive: the crystal is fast; INT32_MIN: unknown */
    uint16_t sigma_ns;      /* of the clock now */
} cp_pps_record;
#define CP_PPS_BYTES (4u + 8u + 1u + 1u + 4u + 4u + 4u + 2u)

typedef struct {
    uint8_t input;          /* from 1 */
    uint8_t state;          /* cp_pps_state: how far second and ns can be believed */
    cp_instant at;
} cp_edge;
#define CP_EDGE_BYTES (4u + 1u + 1u + 8u + 4u + 4u + 2u)

typedef struct {
    uint8_t sensor;         /* WHO_AM_I: says the scale of the temperature */
    uint8_t state;
    cp_instant at;          /* when reading it began */
    int16_t accel[3];       /* 8192 a g */
    int16_t gyro[3];        /* 65.5 a degree a second */
    int16_t temperature;    /* as the sensor gives it */
} cp_sample;
#define CP_SAMPLE_BYTES (4u + 1u + 1u + 8u + 4u + 4u + 2u + 14u)

typedef struct {
    uint64_t tick;          /* now */
    uint8_t state;          /* cp_pps_state */
    uint16_t sigma_ns;      /* of the clock now */
    int32_t rate_ppb;
    int16_t centi_celsius;  /* of the chip; CP_TEMPERATURE_UNKNOWN */
    uint16_t most_queued;   /* bytes that waited to be sent, most since the last status */
    uint32_t num_dropped;   /* records, for want of room, since the start */
    uint32_t num_overrun;   /* edges that came faster than they were taken, since the start */
    uint32_t num_imu_failed;/* readings of the sensor that failed */
    cp_pps_counts counts;
} cp_status;
#define CP_STATUS_BYTES (4u + 8u + 1u + 2u + 4u + 2u + 2u + 4u + 4u + 4u + 6u * 4u)

CP_STATIC_ASSERT(CP_HELLO_BYTES <= CP_RECORD_MOST);
CP_STATIC_ASSERT(CP_STATUS_BYTES <= CP_RECORD_MOST);
CP_STATIC_ASSERT(CP_EDGE_BYTES + 4u == 28u); /* 3 000 a second fit 921 600 baud */

/* Write a record, `out` having room for CP_RECORD_MOST bytes. Returns its length. */
size_t cp_write_hello(uint8_t *out, uint16_t sequence, const cp_hello *record);
size_t cp_write_pps(uint8_t *out, uint16_t sequence, const cp_pps_record *record);
size_t cp_write_edge(uint8_t *out, uint16_t sequence, const cp_edge *record);
size_t cp_write_sample(uint8_t *out, uint16_t sequence, const cp_sample *record);
size_t cp_write_status(uint8_t *out, uint16_t sequence, const cp_status *record);

/* A standard deviation as it is sent. */
uint16_t cp_sent_sigma(uint32_t sigma_ns);

#endif
