#include "usb.h"

#include "clocks.h"
#include "registers.h"

/* 4.1.2.5: the buffers' control words, the endpoints' and the buffers themselves, in dual-port RAM. */
#define SETUP_PACKET USB_DPRAM
#define ENDPOINT_IN(n) (USB_DPRAM + 8u * (n))
#define ENDPOINT_OUT(n) (USB_DPRAM + 8u * (n) + 4u)
#define CONTROL_IN(n) (USB_DPRAM + 0x80u + 8u * (n))
#define CONTROL_OUT(n) (USB_DPRAM + 0x84u + 8u * (n))
#define BUFFER_0 0x100u
#define BUFFER_NOTICE 0x180u
#define BUFFER_DATA_IN 0x1C0u
#define BUFFER_DATA_OUT 0x200u
#define FULL (1u << 15)
#define LAST (1u << 14)
#define DATA_1 (1u << 13)
#define AVAILABLE (1u << 10)
#define LENGTH_MASK 0x3FFu
#define STALL (1u << 11)

#define STATUS_SETUP (1u << 17)
#define STATUS_BUS_RESET (1u << 19)
#define INT_BUFFER (1u << 4)
#define INT_BUS_RESET (1u << 12)
#define INT_SETUP (1u << 16)

enum { NOTICE = 1u, DATA = 2u, PACKET = 64u };

static const uint8_t device_descriptor[] = {
    18, 1, 0x00, 0x02, 2, 0, 0, PACKET, /* USB 2.0, class CDC */
    0x8A, 0x2E, 0x0A, 0x00,             /* Raspberry Pi's number for serial ports of the RP2040 */
    0x00, 0x01, 1, 2, 3, 1,
};
static const uint8_t configuration_descriptor[] = {
    9, 2, 67, 0, 2, 1, 0, 0x80, 50, /* 100 mA */
    9, 4, 0, 0, 1, 2, 2, 0, 0,      /* communication: abstract control model */
    5, 0x24, 0, 0x10, 0x01,
    5, 0x24, 1, 0, 1,
    4, 0x24, 2, 2,                  /* line coding and state */
    5, 0x24, 6, 0, 1,
    7, 5, 0x80 | NOTICE, 3, 8, 0, 255,
    9, 4, 1, 0, 2, 10, 0, 0, 0,     /* data */
    7, 5, 0x80 | DATA, 2, PACKET, 0, 0,
    7, 5, DATA, 2, PACKET, 0, 0,
};
CP_STATIC_ASSERT(sizeof configuration_descriptor == 67u);
static const char *const strings[] = {"", "Coeval", "Coeval probe"};
static char number_text[17];

static cp_ring *source;
static uint8_t reply[80];
static const uint8_t *reply_rest;
static uint32_t num_reply_rest;
static bool is_reading;     /* the transfer goes to the host: it ends with an empty packet from there */
static bool is_reply_short; /* shorter than was asked: an empty packet ends a full last one */
static uint32_t control_toggle;
static uint32_t data_toggle;
static uint8_t new_address;
static bool is_coding_coming;
static uint8_t coding[7] = {0x00, 0x10, 0x0E, 0x00, 0, 0, 8}; /* 921 600 8N1 */
static volatile bool is_configured;
static volatile bool is_open;
static volatile bool is_sending;
static bool was_full;

static void copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
    for (uint32_t k = 0; k < length; k++) {
        to[k] = from[k];
    }
}

/* Hand a buffer to the controller: the bit that does it last, some cycles after the rest (4.1.2.5.1). */
static void hand_over(uint32_t control, uint32_t value)
{
    REG(control) = value;
    __asm volatile("b 1f\n1: b 1f\n1: b 1f\n1: b 1f\n1: b 1f\n1: b 1f\n1:\n" ::: "memory");
    REG(control) = value | AVAILABLE;
}

static void send_control(void)
{
    const uint32_t length = num_reply_rest < PACKET ? num_reply_rest : PACKET;
    copy((uint8_t *)(USB_DPRAM + BUFFER_0), reply_rest, length);
    reply_rest += length;
    num_reply_rest -= length;
    is_reply_short = is_reply_short && length == PACKET;
    hand_over(CONTROL_IN(0u), FULL | LAST | control_toggle | length);
    control_toggle ^= DATA_1;
}

static void answer(const uint8_t *bytes, uint32_t length, uint32_t asked)
{
    reply_rest = bytes;
    num_reply_rest = length < asked ? length : asked;
    is_reply_short = length < asked;
    is_reading = asked != 0u;
    send_control();
}

static void acknowledge(void)
{
    answer(reply, 0u, 0u);
}

static void stall_control(void)
{
    REG(USB_STALL_ARM) = 3u;
    REG(CONTROL_IN(0u)) = STALL;
    REG(CONTROL_OUT(0u)) = STALL;
}

static void receive_control(uint32_t length)
{
    hand_over(CONTROL_OUT(0u), DATA_1 | LAST | length);
}

static void answer_string(uint32_t index, uint32_t asked)
{
    uint32_t at = 2u;
    if (index == 0u) { /* languages: English */
        reply[at++] = 0x09u;
        reply[at++] = 0x04u;
    } else {
        const char *text = index == 3u ? number_text : strings[index];
        for (uint32_t k = 0; text[k] != '\0' && at + 2u <= sizeof reply; k++) {
            reply[at++] = (uint8_t)text[k];
            reply[at++] = 0u;
        }
    }
    reply[0] = (uint8_t)at;
    reply[1] = 3u;
    answer(reply, at, asked);
}

static void describe(uint32_t value, uint32_t asked)
{
    const uint32_t kind = value >> 8;
    const uint32_t index = value & 0xFFu;
    if (kind == 1u) {
        answer(device_descriptor, sizeof device_descriptor, asked);
    } else if (kind == 2u) {
        answer(configuration_descriptor, sizeof configuration_descriptor, asked);
    } else if (kind == 3u && index <= 3u) {
        answer_string(index, asked);
    } else {
        stall_control();
    }
}

static void configure(void)
{
    REG(ENDPOINT_IN(NOTICE)) = 1u << 31 | 1u << 29 | 3u << 26 | BUFFER_NOTICE;
    REG(ENDPOINT_IN(DATA)) = 1u << 31 | 1u << 29 | 2u << 26 | BUFFER_DATA_IN;
    REG(ENDPOINT_OUT(DATA)) = 1u << 31 | 1u << 29 | 2u << 26 | BUFFER_DATA_OUT;
    REG(CONTROL_IN(DATA)) = 0u; /* what nobody fetched would come with the wrong toggle */
    data_toggle = 0u;
    is_sending = false;
    is_configured = true;
    hand_over(CONTROL_OUT(DATA), PACKET); /* what a host sends is taken and thrown away */
}

static void set_line_state(uint32_t value)
{
    const bool opens = (value & 1u) != 0u;
    if (opens && !is_open) {
        source->taken = source->written; /* what nobody read is old */
    }
    is_open = opens;
    const uint32_t baud = (uint32_t)coding[0] | (uint32_t)coding[1] << 8 | (uint32_t)coding[2] << 16;
    if (!opens && baud == 1200u) {
        restart_to_flash();
    }
}

static void take_setup(void)
{
    uint8_t packet[8];
    copy(packet, (const uint8_t *)SETUP_PACKET, sizeof packet);
    const uint32_t request = (uint32_t)packet[0] << 8 | packet[1];
    const uint32_t value = (uint32_t)packet[3] << 8 | packet[2];
    const uint32_t asked = (uint32_t)packet[7] << 8 | packet[6];
    control_toggle = DATA_1;
    is_coding_coming = false;
    switch (request) {
    case 0x8006u: /* get descriptor */
        describe(value, asked);
        break;
    case 0x0005u: /* set address, once this is acknowledged */
        new_address = (uint8_t)value;
        acknowledge();
        break;
    case 0x0009u: /* set configuration */
        configure();
        acknowledge();
        break;
    case 0x8008u: /* get configuration */
        reply[0] = is_configured ? 1u : 0u;
        answer(reply, 1u, asked);
        break;
    case 0x8000u: /* get status */
    case 0x8100u:
    case 0x8200u:
        reply[0] = 0u;
        reply[1] = 0u;
        answer(reply, 2u, asked);
        break;
    case 0x0201u: /* clear an endpoint's halt: its toggle begins anew */
        if (packet[4] == (0x80u | DATA)) {
            data_toggle = 0u;
        }
        acknowledge();
        break;
    case 0x0101u:
    case 0x010Bu: /* set interface */
        acknowledge();
        break;
    case 0x2120u: /* set line coding */
        is_coding_coming = true;
        receive_control(sizeof coding);
        break;
    case 0xA121u: /* get line coding */
        answer(coding, sizeof coding, asked);
        break;
    case 0x2122u: /* set control line state: DTR */
        acknowledge();
        set_line_state(value);
        break;
    default:
        stall_control();
        break;
    }
}

static void send_data(void)
{
    uint32_t length = 0u;
    const uint8_t *bytes = cp_ring_peek(source, &length);
    length = length < PACKET ? length : PACKET;
    if (length == 0u && !was_full) {
        is_sending = false;
        return;
    }
    copy((uint8_t *)(USB_DPRAM + BUFFER_DATA_IN), bytes, length);
    cp_ring_take(source, length);
    was_full = length == PACKET; /* an empty packet tells the host that no more comes for now */
    is_sending = true;
    hand_over(CONTROL_IN(DATA), FULL | data_toggle | length);
    data_toggle ^= DATA_1;
}

static void take_buffers(void)
{
    const uint32_t done = REG(USB_BUFF_STATUS);
    REG(USB_BUFF_STATUS) = done;
    if (done & 1u << 0) { /* control, sent */
        if (new_address != 0u) {
            REG(USB_ADDRESS) = new_address;
            new_address = 0u;
        } else if (num_reply_rest != 0u || is_reply_short) {
            send_control();
        } else if (is_reading) { /* else the host's next data would fall into it */
            is_reading = false;
            receive_control(0u);
        }
    }
    if (done & 1u << 1 && is_coding_coming) { /* control, received */
        copy(coding, (const uint8_t *)(USB_DPRAM + BUFFER_0), sizeof coding);
        is_coding_coming = false;
        acknowledge();
    }
    if (done & 1u << (2u * DATA)) {
        send_data();
    }
    if (done & 1u << (2u * DATA + 1u)) {
        hand_over(CONTROL_OUT(DATA), (REG(CONTROL_OUT(DATA)) & DATA_1 ? 0u : DATA_1) | PACKET);
    }
}

void usb_interrupt(void)
{
    const uint32_t what = REG(USB_INTS);
    if (what & INT_BUFFER) { /* first: they end the transfer before the one that a setup begins */
        take_buffers();
    }
    if (what & INT_SETUP) {
        REG(USB_SIE_STATUS) = STATUS_SETUP;
        take_setup();
    }
    if (what & INT_BUS_RESET) {
        REG(USB_SIE_STATUS) = STATUS_BUS_RESET;
        REG(USB_ADDRESS) = 0u;
        new_address = 0u;
        is_configured = false;
        is_open = false;
        is_sending = false;
    }
}

void usb_start(cp_ring *ring, const uint8_t number[8])
{
    static const char digits[] = "0123456789ABCDEF";
    source = ring;
    for (uint32_t k = 0; k < 8u; k++) {
        number_text[2u * k] = digits[number[k] >> 4];
        number_text[2u * k + 1u] = digits[number[k] & 0xFu];
    }
    for (uint32_t at = 0; at < 0x1000u; at += 4u) {
        REG(USB_DPRAM + at) = 0u;
    }
    REG(USB_MUXING) = 1u << 3 | 1u << 0;
    REG(USB_PWR) = 1u << 3 | 1u << 2; /* plugged in: a Pico lives on it */
    REG(USB_MAIN) = 1u;
    REG(USB_SIE_CTRL) = 1u << 29;
    REG(USB_INTE) = INT_BUFFER | INT_BUS_RESET | INT_SETUP;
    REG(NVIC_ENABLE) = 1u << IRQ_USB;
    SET_BITS(USB_SIE_CTRL, 1u << 16); /* pull-up: here I am */
}

bool usb_is_open(void)
{
    return is_configured && is_open;
}

void usb_kick(void)
{
    interrupts_off();
    if (is_configured && is_open && !is_sending) {
        send_data();
    }
    interrupts_on();
}
