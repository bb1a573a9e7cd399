#include "clocks.h"

#include "registers.h"

#define XOSC_1_15MHZ 0xAA0u
#define XOSC_ENABLE (0xFABu << 12)
#define XOSC_STABLE (1u << 31)
#define PLL_LOCK (1u << 31)
#define PLL_POWER_DOWN 0x21u /* VCO and all */
#define PLL_POST_DIVIDER_DOWN 0x08u
#define CLOCK_ENABLE (1u << 11)
#define ALL_BLOCKS                                                                                   \
    (RESET_ADC | RESET_DMA | RESET_I2C0 | RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_PIO0             \
     | RESET_UART0 | RESET_USBCTRL)

static void release(uint32_t blocks)
{
    SET_BITS(RESETS_RESET, blocks);
    CLEAR_BITS(RESETS_RESET, blocks);
    while ((REG(RESETS_DONE) & blocks) != blocks) {
    }
}

static void start_pll(uint32_t pll, uint32_t feedback, uint32_t divider1, uint32_t divider2)
{
    REG(pll + PLL_CS) = 1u; /* the crystal as it is */
    REG(pll + PLL_FBDIV) = feedback;
    CLEAR_BITS(pll + PLL_PWR, PLL_POWER_DOWN);
    while (!(REG(pll + PLL_CS) & PLL_LOCK)) {
    }
    REG(pll + PLL_PRIM) = divider1 << 16 | divider2 << 12;
    CLEAR_BITS(pll + PLL_PWR, PLL_POST_DIVIDER_DOWN);
}

void clocks_start(void)
{
    REG(XOSC_CTRL) = XOSC_1_15MHZ;
    REG(XOSC_STARTUP) = 3008u; /* 64 ms, in 256 periods: some boards' crystals need long */
    SET_BITS(XOSC_CTRL, XOSC_ENABLE);
    while (!(REG(XOSC_STATUS) & XOSC_STABLE)) {
    }
    REG(CLK_SYS_CTRL) = 0u; /* clk_ref, until the PLL runs */
    while (REG(CLK_SYS_SELECTED) != 1u) {
    }
    REG(CLK_REF_CTRL) = 2u; /* the crystal */
    while (REG(CLK_REF_SELECTED) != 4u) {
    }
    release(RESET_PLL_SYS | RESET_PLL_USB);
    start_pll(PLL_SYS, 125u, 6u, 2u); /* 12 MHz * 125 / 12 = 125 MHz */
    start_pll(PLL_USB, 100u, 5u, 5u); /* 48 MHz */
    REG(CLK_SYS_CTRL) = 0u;           /* choose PLL_SYS behind the glitchless switch, then switch */
    REG(CLK_SYS_CTRL) = 1u;
    while (REG(CLK_SYS_SELECTED) != 2u) {
    }
    REG(CLK_PERI_CTRL) = CLOCK_ENABLE;
    REG(CLK_USB_CTRL) = CLOCK_ENABLE;
    REG(CLK_ADC_CTRL) = CLOCK_ENABLE;
    REG(WATCHDOG_TICK) = 1u << 9 | 12u; /* a tick of 1 us for the watchdog */
    release(ALL_BLOCKS);
    REG(ADC_CS) = 3u; /* on, with the temperature sensor's bias */
}

void watchdog_start(void)
{
    watchdog_feed();
    SET_BITS(0x40010008u, 0x0001FFFCu); /* PSM WDSEL: everything but the oscillators restarts */
    SET_BITS(WATCHDOG_CTRL, 1u << 30);
}

void watchdog_feed(void)
{
    REG(WATCHDOG_LOAD) = 2000000u; /* counts down twice a tick (RP2040-E1) */
}

bool watchdog_restarted(void)
{
    return (REG(WATCHDOG_REASON) & 1u) != 0u;
}

void flash_read_number(uint8_t number[8])
{
    enum { NUM_BYTES = 13 }; /* the command, four that do not matter, eight of the answer */
    uint8_t all_and = 0xFFu;
    uint8_t all_or = 0u;
    REG(SSI_ENABLE) = 0u;
    REG(SSI_CTRLR0) = 7u << 16; /* 8 bits, both ways */
    REG(SSI_SELECT) = 1u;
    REG(SSI_ENABLE) = 1u;
    REG(IO_QSPI_SS_CTRL) = 2u << 8; /* selected, by force */
    for (uint32_t k = 0; k < NUM_BYTES; k++) {
        REG(SSI_DATA) = k == 0u ? 0x4Bu : 0u; /* the queue holds 16 */
    }
    for (uint32_t k = 0; k < NUM_BYTES; k++) {
        for (uint32_t tries = 0; REG(SSI_RX_LEVEL) == 0u && tries < 100000u; tries++) {
        }
        const uint8_t byte = (uint8_t)REG(SSI_DATA);
        if (k >= 5u) {
            number[k - 5u] = byte;
            all_and &= byte;
            all_or |= byte;
        }
    }
    REG(IO_QSPI_SS_CTRL) = 0u;
    if (all_and == 0xFFu || all_or == 0u) { /* nothing answered */
        for (uint32_t k = 0; k < 8u; k++) {
            number[k] = 0u;
        }
    }
}

void temperature_begin(void)
{
    REG(ADC_CS) = 4u << 12 | 4u | 3u; /* input 4, once */
}

int16_t temperature_read(void)
{
    const int32_t microvolts = (int32_t)((uint64_t)(REG(ADC_RESULT) & 0xFFFu) * 3300000u / 4096u);
    return (int16_t)(2700 - (microvolts - 706000) * 100 / 1721);
}

void restart_to_flash(void)
{
    /* 2.8.3 of the datasheet: the table of functions and what finds one in it. */
    typedef void *(*lookup)(uint16_t *table, uint32_t code);
    typedef void (*restart)(uint32_t activity_pin_mask, uint32_t disable_mask);
    uintptr_t start = 0x14u;
    __asm volatile("" : "+r"(start)); /* or the compiler takes it for an array of no length */
    const volatile uint16_t *rom = (const volatile uint16_t *)start;
    const lookup find = (lookup)(uintptr_t)rom[2];
    const restart go = (restart)find((uint16_t *)(uintptr_t)rom[0], 'U' | (uint32_t)'B' << 8);
    go(1u << 25, 0u);
    for (;;) {
    }
}
