/* A motion sensor on I2C (GPIO 8 and 9): MPU-6050, MPU-6500, MPU-9250 or ICM-20948, found by itself.
 *
 * Read once a beat, begun in the beat's interrupt; the beat's tick is known exactly. Scale: 8192 a g,
 * 65.5 a degree a second, low-pass filter of about 45 Hz. */
#ifndef IMU_H
#define IMU_H

#include "cp_records.h"

void imu_start(void);

/* In the beat's interrupt. */
void imu_interrupt(uint64_t tick);

/* Once a beat, outside of it: find and set up the sensor. */
void imu_pass(void);

/* WHO_AM_I of the sensor that is being read; 0: none. */
uint8_t imu_sensor(void);

/* The last sample, once; its time is only the tick. */
bool imu_take(cp_sample *sample);

/* Readings that failed. */
uint32_t imu_num_failed(void);

#endif
