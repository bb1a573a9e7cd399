#include "cp_records.h"

static uint8_t *put8(uint8_t *at, uint32_t value)
{
    *at = (uint8_t)(value & 0xFFu);
    return at + 1;
}

static uint8_t *put16(uint8_t *at, uint32_t value)
{
    return put8(put8(at, value), value >> 8);
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    return put16(put16(at, value), value >> 16);
}

static uint8_t *put64(uint8_t *at, uint64_t value)
{
    return put32(put32(at, (uint32_t)(value & 0xFFFFFFFFu)), (uint32_t)(value >> 32));
}

static uint8_t *put_bytes(uint8_t *at, const uint8_t *bytes, size_t length)
{
    for (size_t k = 0; k < length; k++) {
        at[k] = bytes[k];
    }
    return at + length;
}

static uint8_t *put_head(uint8_t *at, uint32_t type, uint16_t sequence)
{
    return put16(put8(put8(at, type), CP_LAYOUT), sequence);
}

static uint8_t *put_instant(uint8_t *at, const cp_instant *instant)
{
    at = put64(at, instant->tick);
    at = put32(at, instant->is_known ? instant->second : UINT32_MAX);
    at = put32(at, instant->is_known ? instant->ns : UINT32_MAX);
    return put16(at, instant->is_known ? cp_sent_sigma(instant->sigma_ns) : CP_SIGMA_UNKNOWN);
}

uint16_t cp_sent_sigma(uint32_t sigma_ns)
{
    return sigma_ns < CP_SIGMA_UNKNOWN ? (uint16_t)sigma_ns : (uint16_t)CP_SIGMA_UNKNOWN;
}

size_t cp_write_hello(uint8_t *out, uint16_t sequence, const cp_hello *record)
{
    uint8_t *at = put_head(out, CP_RECORD_HELLO, sequence);
    at = put8(at, record->protocol);
    at = put_bytes(at, record->version, sizeof record->version);
    at = put_bytes(at, record->board_id, sizeof record->board_id);
    at = put32(at, record->tick_hz);
    at = put_bytes(at, record->source_id, sizeof record->source_id);
    at = put8(at, record->num_inputs);
    at = put8(at, record->imu);
    at = put16(at, record->imu_period_us);
    at = put8(at, record->reset_reason);
    return (size_t)(at - out);
}

size_t cp_write_pps(uint8_t *out, uint16_t sequence, const cp_pps_record *record)
{
    uint8_t *at = put_head(out, CP_RECORD_PPS, sequence);
    at = put64(at, record->tick);
    at = put8(at, record->verdict);
    at = put8(at, record->state);
    at = put32(at, record->second);
    at = put32(at, (uint32_t)record->residual_ns);
    at = put32(at, (uint32_t)record->rate_ppb);
    at = put16(at, record->sigma_ns);
    return (size_t)(at - out);
}

size_t cp_write_edge(uint8_t *out, uint16_t sequence, const cp_edge *record)
{
    uint8_t *at = put_head(out, CP_RECORD_EDGE, sequence);
    at = put8(at, record->input);
    at = put8(at, record->state);
    at = put_instant(at, &record->at);
    return (size_t)(at - out);
}

size_t cp_write_sample(uint8_t *out, uint16_t sequence, const cp_sample *record)
{
    uint8_t *at = put_head(out, CP_RECORD_SAMPLE, sequence);
    at = put8(at, record->sensor);
    at = put8(at, record->state);
    at = put_instant(at, &record->at);
    for (size_t k = 0; k < 3u; k++) {
        at = put16(at, (uint16_t)record->accel[k]);
    }
    for (size_t k = 0; k < 3u; k++) {
        at = put16(at, (uint16_t)record->gyro[k]);
    }
    at = put16(at, (uint16_t)record->temperature);
    return (size_t)(at - out);
}

size_t cp_write_status(uint8_t *out, uint16_t sequence, const cp_status *record)
{
    uint8_t *at = put_head(out, CP_RECORD_STATUS, sequence);
    at = put64(at, record->tick);
    at = put8(at, record->state);
    at = put16(at, record->sigma_ns);
    at = put32(at, (uint32_t)record->rate_ppb);
    at = put16(at, (uint16_t)record->centi_celsius);
    at = put16(at, record->most_queued);
    at = put32(at, record->num_dropped);
    at = put32(at, record->num_overrun);
    at = put32(at, record->num_imu_failed);
    at = put32(at, record->counts.good);
    at = put32(at, record->counts.missed);
    at = put32(at, record->counts.spurious);
    at = put32(at, record->counts.doubled);
    at = put32(at, record->counts.searching);
    at = put32(at, record->counts.regridded);
    return (size_t)(at - out);
}
