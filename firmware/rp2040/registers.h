/* Registers of the RP2040 that the probe uses; numbers are sections of the RP2040 datasheet. */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define SET_BITS(address, bits) (REG((address) + 0x2000u) = (bits)) /* 2.1.2 */
#define CLEAR_BITS(address, bits) (REG((address) + 0x3000u) = (bits))

/* 2.14 Resets */
#define RESETS_RESET 0x4000C000u
#define RESETS_DONE 0x4000C008u
#define RESET_ADC (1u << 0)
#define RESET_DMA (1u << 2)
#define RESET_I2C0 (1u << 3)
#define RESET_IO_BANK0 (1u << 5)
#define RESET_PADS_BANK0 (1u << 8)
#define RESET_PIO0 (1u << 10)
#define RESET_PLL_SYS (1u << 12)
#define RESET_PLL_USB (1u << 13)
#define RESET_UART0 (1u << 22)
#define RESET_USBCTRL (1u << 24)

/* 2.16 Crystal oscillator, 2.18 PLLs, 2.15 clocks */
#define XOSC_CTRL 0x40024000u
#define XOSC_STATUS 0x40024004u
#define XOSC_STARTUP 0x4002400Cu
#define PLL_SYS 0x40028000u
#define PLL_USB 0x4002C000u
#define PLL_CS 0x0u
#define PLL_PWR 0x4u
#define PLL_FBDIV 0x8u
#define PLL_PRIM 0xCu
#define CLK_REF_CTRL 0x40008030u
#define CLK_REF_SELECTED 0x40008038u
#define CLK_SYS_CTRL 0x4000803Cu
#define CLK_SYS_SELECTED 0x40008044u
#define CLK_PERI_CTRL 0x40008048u
#define CLK_USB_CTRL 0x40008054u
#define CLK_ADC_CTRL 0x40008060u

/* 4.7 Watchdog */
#define WATCHDOG_CTRL 0x40058000u
#define WATCHDOG_LOAD 0x40058004u
#define WATCHDOG_REASON 0x40058008u
#define WATCHDOG_TICK 0x4005802Cu

/* 2.19 GPIO */
#define IO_CTRL(pin) (0x40014004u + 8u * (pin))
#define PAD(pin) (0x4001C004u + 4u * (pin))
#define IO_QSPI_SS_CTRL 0x4001800Cu
#define FUNCTION_UART 2u
#define FUNCTION_I2C 3u
#define FUNCTION_SIO 5u
#define FUNCTION_PIO0 6u
#define SIO_OUT_SET 0xD0000014u
#define SIO_OUT_CLEAR 0xD0000018u
#define SIO_OE_SET 0xD0000024u

/* 3.7 PIO */
#define PIO0 0x50200000u
#define PIO_CTRL (PIO0 + 0x000u)
#define PIO_FSTAT (PIO0 + 0x004u)
#define PIO_FDEBUG (PIO0 + 0x008u)
#define PIO_TXF(n) (PIO0 + 0x010u + 4u * (n))
#define PIO_RXF(n) (PIO0 + 0x020u + 4u * (n))
#define PIO_MEMORY(n) (PIO0 + 0x048u + 4u * (n))
#define PIO_EXECCTRL(n) (PIO0 + 0x0CCu + 0x18u * (n))
#define PIO_SHIFTCTRL(n) (PIO0 + 0x0D0u + 0x18u * (n))
#define PIO_INSTR(n) (PIO0 + 0x0D8u + 0x18u * (n))
#define PIO_PINCTRL(n) (PIO0 + 0x0DCu + 0x18u * (n))
#define PIO_IRQ0_INTE (PIO0 + 0x12Cu)

/* 2.5 DMA */
#define DMA(channel, offset) (0x50000000u + 0x40u * (channel) + (offset))
#define DMA_READ 0x00u
#define DMA_WRITE 0x04u
#define DMA_COUNT 0x08u
#define DMA_CTRL_TRIGGER 0x0Cu
#define DMA_COUNT_TRIGGER 0x1Cu
#define DMA_BUSY (1u << 24)
#define DMA_INTE0 0x50000404u
#define DMA_INTS0 0x5000040Cu
#define DREQ_PIO0_RX(n) (4u + (n))
#define DREQ_UART0_TX 20u

/* 4.2 UART */
#define UART0 0x40034000u
#define UART_IBRD (UART0 + 0x24u)
#define UART_FBRD (UART0 + 0x28u)
#define UART_LCR (UART0 + 0x2Cu)
#define UART_CR (UART0 + 0x30u)
#define UART_DMACR (UART0 + 0x48u)
#define UART_DR UART0

/* 4.3 I2C */
#define I2C0 0x40044000u
#define I2C_CON (I2C0 + 0x00u)
#define I2C_TAR (I2C0 + 0x04u)
#define I2C_DATA (I2C0 + 0x10u)
#define I2C_FS_HIGH (I2C0 + 0x1Cu)
#define I2C_FS_LOW (I2C0 + 0x20u)
#define I2C_RAW_INTR (I2C0 + 0x34u)
#define I2C_CLEAR_INTR (I2C0 + 0x40u)
#define I2C_ENABLE (I2C0 + 0x6Cu)
#define I2C_RX_LEVEL (I2C0 + 0x78u)
#define I2C_SDA_HOLD (I2C0 + 0x7Cu)
#define I2C_SPIKE (I2C0 + 0xA0u)
#define I2C_ABORTED (1u << 6)
#define I2C_STOPPED (1u << 9)

/* 4.9 ADC */
#define ADC_CS 0x4004C000u
#define ADC_RESULT 0x4004C004u

/* 4.1 USB */
#define USB_DPRAM 0x50100000u
#define USB 0x50110000u
#define USB_ADDRESS (USB + 0x00u)
#define USB_MAIN (USB + 0x40u)
#define USB_SIE_CTRL (USB + 0x4Cu)
#define USB_SIE_STATUS (USB + 0x50u)
#define USB_BUFF_STATUS (USB + 0x58u)
#define USB_STALL_ARM (USB + 0x68u)
#define USB_MUXING (USB + 0x74u)
#define USB_PWR (USB + 0x78u)
#define USB_INTE (USB + 0x90u)
#define USB_INTS (USB + 0x98u)

/* 4.10 SSI, the flash chip's interface */
#define SSI 0x18000000u
#define SSI_CTRLR0 (SSI + 0x00u)
#define SSI_ENABLE (SSI + 0x08u)
#define SSI_SELECT (SSI + 0x10u)
#define SSI_RX_LEVEL (SSI + 0x24u)
#define SSI_DATA (SSI + 0x60u)

/* 2.4 Cortex-M0+ */
#define NVIC_ENABLE 0xE000E100u
#define NVIC_PRIORITY(n) (0xE000E400u + 4u * (n))
#define IRQ_USB 5u
#define IRQ_PIO0_0 7u
#define IRQ_DMA_0 11u

static inline void interrupts_off(void)
{
    __asm volatile("cpsid i" ::: "memory");
}

static inline void interrupts_on(void)
{
    __asm volatile("cpsie i" ::: "memory");
}

#endif
