/* Crystal, PLLs and resets; the chip's temperature; the flash chip's number; the watchdog. */
#ifndef CLOCKS_H
#define CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/* 12 MHz crystal: clk_sys and clk_peri 125 MHz, clk_usb and clk_adc 48 MHz; needed blocks out of reset. */
void clocks_start(void);

/* Restart unless fed for a second. */
void watchdog_start(void);
void watchdog_feed(void);
bool watchdog_restarted(void);

/* The flash chip's own number (command 4Bh); zeros where it gives none. Before anything else uses the
 * flash interface; nothing runs from flash. */
void flash_read_number(uint8_t number[8]);

/* Begin to measure; the result is there 2 us later. */
void temperature_begin(void);
/* Hundredths of a degree Celsius (RP2040 datasheet 4.9.5); the sensor is good to some degrees. */
int16_t temperature_read(void);

/* Restart into the boot ROM's drive, to be flashed. Does not return. */
void restart_to_flash(void);

#endif
