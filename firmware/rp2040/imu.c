#include "imu.h"

#include "registers.h"

#define NUM_BYTES 14u
#define I2C_READ (1u << 8)
#define I2C_STOP (1u << 9)
#define I2C_RESTART (1u << 10)
#define RETRY_BEATS 100u
#define MOST_FAILED_IN_A_ROW 20u

enum { MPU = 0, ICM = 1 };

/* InvenSense register maps: MPU-6000/6050 RM-MPU-6000A-00 4.2, ICM-20948 DS-000189 1.3. */
typedef struct {
    uint8_t address;
    uint8_t family;
} candidate;

static const candidate candidates[] = {{0x68u, MPU}, {0x69u, MPU}, {0x68u, ICM}, {0x69u, ICM}};
static const uint8_t who_am_i[] = {[MPU] = 0x75u, [ICM] = 0x00u};
static const uint8_t first_register[] = {[MPU] = 0x3Bu, [ICM] = 0x2Du};

typedef struct {
    uint8_t reg;
    uint8_t value;
} setting;

#define PAUSE 0xFFu /* so many beats of waiting instead of a register */

static const setting mpu_settings[] = {
    {0x6Bu, 0x80u}, {PAUSE, 10u}, /* reset */
    {0x6Bu, 0x01u},               /* awake, clocked by the gyroscope */
    {0x1Au, 0x03u},               /* DLPF_CFG 3: 44 Hz, 4.9 ms; gyroscope 42 Hz, 4.8 ms */
    {0x19u, 0x00u},               /* renewed at 1 kHz */
    {0x1Bu, 0x08u},               /* 500 degrees a second */
    {0x1Cu, 0x08u},               /* 4 g */
    {0x1Du, 0x03u},               /* later ones: the accelerometer's own filter, 45 Hz */
    {0u, 0u},
};
static const setting icm_settings[] = {
    {0x7Fu, 0x00u}, {0x06u, 0x80u}, {PAUSE, 10u},
    {0x06u, 0x01u}, {0x07u, 0x00u},
    {0x7Fu, 0x20u},               /* bank 2 */
    {0x01u, 0x1Bu},               /* gyroscope: filter 3, 51 Hz; 500 degrees a second */
    {0x14u, 0x1Bu},               /* accelerometer: filter 3, 50 Hz; 4 g */
    {0x7Fu, 0x00u}, {0u, 0u},
};

static volatile enum { ASKING, ANSWERING, SETTING, RUNNING, RESTING } state;
static uint32_t chosen;
static uint32_t step;
static uint32_t rest;
static volatile uint32_t num_failed;
static volatile uint32_t num_failed_in_a_row;
static uint8_t sensor;

static uint64_t begun_tick;
static bool is_begun;
static cp_sample latest;
static volatile bool is_fresh;

static void flush(uint8_t address)
{
    REG(I2C_ENABLE) = 0u;
    REG(I2C_TAR) = address;
    REG(I2C_ENABLE) = 1u;
    (void)REG(I2C_CLEAR_INTR);
}

static void begin_read(uint8_t reg, uint32_t num)
{
    REG(I2C_DATA) = reg;
    for (uint32_t k = 0; k < num; k++) {
        REG(I2C_DATA) = I2C_READ | (k == 0u ? I2C_RESTART : 0u) | (k + 1u == num ? I2C_STOP : 0u);
    }
}

static bool is_answered(uint32_t num)
{
    return !(REG(I2C_RAW_INTR) & I2C_ABORTED) && REG(I2C_RX_LEVEL) == num;
}

void imu_start(void)
{
    for (uint32_t pin = 8u; pin <= 9u; pin++) {
        REG(PAD(pin)) = 0x4Au; /* input, pulled up, Schmitt trigger; too weak alone: see the wiring */
        REG(IO_CTRL(pin)) = FUNCTION_I2C;
    }
    REG(I2C_ENABLE) = 0u;
    REG(I2C_CON) = 1u << 8 | 1u << 6 | 1u << 5 | 2u << 1 | 1u; /* master, 400 kHz, restarts */
    REG(I2C_FS_HIGH) = 125u; /* 312 cycles a bit */
    REG(I2C_FS_LOW) = 188u;
    REG(I2C_SPIKE) = 11u;
    REG(I2C_SDA_HOLD) = 38u; /* 300 ns */
    state = ASKING;
}

static int16_t word(const uint8_t *bytes)
{
    return (int16_t)((uint32_t)bytes[0] << 8 | bytes[1]);
}

static void gather(void)
{
    uint8_t bytes[NUM_BYTES];
    for (uint32_t k = 0; k < NUM_BYTES; k++) {
        bytes[k] = (uint8_t)(REG(I2C_DATA) & 0xFFu);
    }
    /* MPU: accelerometer, temperature, gyroscope; ICM: temperature last. */
    const bool is_icm = candidates[chosen].family == ICM;
    const uint8_t *gyro = bytes + (is_icm ? 6 : 8);
    for (uint32_t k = 0; k < 3u; k++) {
        latest.accel[k] = word(bytes + 2u * k);
        latest.gyro[k] = word(gyro + 2u * k);
    }
    latest.temperature = word(bytes + (is_icm ? 12 : 6));
    latest.at.tick = begun_tick;
    is_fresh = true;
}

void imu_interrupt(uint64_t tick)
{
    if (state != RUNNING) {
        is_begun = false;
        return;
    }
    if (is_begun) {
        if (is_answered(NUM_BYTES)) {
            gather();
            num_failed_in_a_row = 0u;
        } else {
            num_failed++;
            num_failed_in_a_row++;
            flush(candidates[chosen].address);
        }
    }
    begun_tick = tick;
    is_begun = true;
    begin_read(first_register[candidates[chosen].family], NUM_BYTES);
}

static bool is_known(uint8_t who, uint8_t family)
{
    if (family == ICM) {
        return who == 0xEAu;
    }
    return who == 0x68u || who == 0x70u || who == 0x71u || who == 0x73u;
}

static void ask_next(void)
{
    chosen++;
    state = ASKING;
    if (chosen == sizeof candidates / sizeof candidates[0]) {
        chosen = 0u;
        rest = RETRY_BEATS;
        state = RESTING;
    }
}

static void pass_setting(void)
{
    if (rest != 0u) {
        rest--;
        return;
    }
    if (REG(I2C_RAW_INTR) & I2C_ABORTED) {
        ask_next();
        return;
    }
    const setting *next = (candidates[chosen].family == ICM ? icm_settings : mpu_settings) + step;
    step++;
    if (next->reg == 0u && next->value == 0u) {
        num_failed_in_a_row = 0u;
        state = RUNNING; /* last: the interrupt acts on it */
    } else if (next->reg == PAUSE) {
        rest = next->value;
    } else {
        REG(I2C_DATA) = next->reg;
        REG(I2C_DATA) = next->value | I2C_STOP;
    }
}

void imu_pass(void)
{
    switch (state) {
    case ASKING:
        flush(candidates[chosen].address);
        begin_read(who_am_i[candidates[chosen].family], 1u);
        state = ANSWERING;
        break;
    case ANSWERING:
        if (is_answered(1u)) {
            sensor = (uint8_t)(REG(I2C_DATA) & 0xFFu);
            if (is_known(sensor, candidates[chosen].family)) {
                step = 0u;
                rest = 0u;
                state = SETTING;
                break;
            }
        }
        ask_next();
        break;
    case SETTING:
        pass_setting();
        break;
    case RUNNING:
        if (num_failed_in_a_row >= MOST_FAILED_IN_A_ROW) { /* unplugged: look for it again */
            chosen = 0u;
            state = ASKING;
        }
        break;
    case RESTING:
        if (rest == 0u) {
            state = ASKING;
        } else {
            rest--;
        }
        break;
    }
}

uint8_t imu_sensor(void)
{
    return state == RUNNING ? sensor : 0u;
}

bool imu_take(cp_sample *sample)
{
    bool is_new;
    interrupts_off();
    is_new = is_fresh;
    if (is_new) {
        *sample = latest;
        is_fresh = false;
    }
    interrupts_on();
    sample->sensor = sensor;
    return is_new;
}

uint32_t imu_num_failed(void)
{
    return num_failed;
}
