/* Second stage of booting: the 256 bytes that the boot ROM copies to RAM, checks and runs.
 *
 * Sets the flash interface up for plain reads (command 03h), which every SPI flash chip knows, and goes
 * to the vector table behind it. Slow, but the program copies itself to RAM and reads flash no more
 * (RP2040 datasheet 2.8.1.3 and 4.10). tools/uf2.py appends the CRC. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .boot2, "ax"

    .equ XIP_SSI, 0x18000000
    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_SSIENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ VTOR, 0xE000ED08

    .global boot2
    .thumb_func
boot2:
    ldr r3, =XIP_SSI
    movs r1, #0
    str r1, [r3, #SSI_SSIENR]       /* off while it is set up */
    movs r1, #4
    str r1, [r3, #SSI_BAUDR]        /* clk_sys / 4 */
    ldr r1, =0x001F0300             /* 32 data bits, EEPROM read: send a command, then receive */
    str r1, [r3, #SSI_CTRLR0]
    ldr r1, =0x03000218             /* command 03h, 8 bits of it, 24 of address, all on one wire */
    ldr r0, =0x180000F4             /* SSI_SPI_CTRLR0 */
    str r1, [r0]
    movs r1, #0
    str r1, [r3, #SSI_CTRLR1]       /* one word a read */
    movs r1, #1
    str r1, [r3, #SSI_SSIENR]
    ldr r0, =0x10000100             /* the vector table */
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .pool
