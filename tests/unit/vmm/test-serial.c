/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86_64/layout.h"
#include "arch/x86_64/serial.h"
#include "fake-irq.h"

struct port {
        struct parts parts;
        struct bus pio;
        struct irq *irq;
        struct serial *serial;
        int peer;
};

static void port_init(struct port *p) {
        int pair[2];

        *p = (struct port) { 0 };
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        p->peer = pair[0];
        CHECK_EQ(irq_new(-1, &p->irq), 0);
        CHECK_EQ(serial_new(&p->parts, &p->pio, p->irq, pair[1], &p->serial), 0);
}

static void machine_reset(struct port *p) {
        const char *text;

        CHECK_EQ(parts_reset(&p->parts, &text), 0);
}

static void port_done(struct port *p) {
        CHECK(!serial_free(p->serial));
        CHECK_EQ(p->pio.n_ranges, 0);
        irq_free(p->irq);
        close(p->peer);
}

static uint8_t in(struct port *p, unsigned reg) {
        uint8_t value;

        bus_read(&p->pio, LAYOUT_PORT_SERIAL + reg, &value, 1);
        return value;
}

static void out(struct port *p, unsigned reg, uint8_t value) {
        bus_write(&p->pio, LAYOUT_PORT_SERIAL + reg, &value, 1);
}

static void test_output(void) {
        struct port p;
        char buffer[8];

        port_init(&p);
        CHECK_EQ(in(&p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
        for (const char *c = "hello"; *c; c++)
                out(&p, UART_TX, (uint8_t) *c);
        CHECK_EQ(read(p.peer, buffer, sizeof(buffer)), 5);
        CHECK_EQ(memcmp(buffer, "hello", 5), 0);
        port_done(&p);
}

/* A console that nobody reads costs bytes, never time. */
static void test_output_that_nobody_reads(void) {
        struct port p;

        port_init(&p);
        for (unsigned i = 0; i < (1u << 20); i++)
                out(&p, UART_TX, 'x');
        CHECK_EQ(in(&p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
        port_done(&p);
}

/* The log has what is sent, whether somebody reads the port or not; in loopback nothing is sent. */
static void test_log(void) {
        struct port p;
        char buffer[8];
        int ends[2];

        port_init(&p);
        CHECK(pipe2(ends, O_CLOEXEC) == 0);
        CHECK_EQ(serial_set_log(p.serial, ends[0]), -EBADF);
        CHECK_EQ(serial_set_log(p.serial, ends[1]), 0);
        for (const char *c = "hello"; *c; c++)
                out(&p, UART_TX, (uint8_t) *c);
        CHECK_EQ(read(ends[0], buffer, sizeof(buffer)), 5);
        CHECK_EQ(memcmp(buffer, "hello", 5), 0);
        out(&p, UART_MCR, UART_MCR_LOOP);
        out(&p, UART_TX, 'x');
        out(&p, UART_MCR, 0);
        out(&p, UART_TX, 'y');
        CHECK_EQ(read(ends[0], buffer, sizeof(buffer)), 1);
        CHECK_EQ(buffer[0], 'y');
        for (unsigned i = 0; i < (1u << 16); i++)
                out(&p, UART_TX, 'z');
        CHECK(in(&p, UART_LSR) & UART_LSR_THRE);
        close(ends[0]);
        port_done(&p);
}

static void test_no_terminal(void) {
        struct parts parts = { 0 };
        struct bus pio = { 0 };
        struct irq *irq;
        struct serial *serial;

        CHECK_EQ(irq_new(-1, &irq), 0);
        CHECK_EQ(serial_new(&parts, &pio, irq, -EBADF, &serial), 0);
        CHECK_EQ(serial_start(serial, NULL, NULL), 0);
        bus_write(&pio, LAYOUT_PORT_SERIAL, "x", 1);
        serial_free(serial);
        CHECK(!serial_free(NULL));
        irq_free(irq);
}

static void test_transmitter_interrupt(void) {
        struct port p;

        port_init(&p);
        CHECK_EQ(in(&p, UART_IIR), UART_IIR_NO_INT);
        out(&p, UART_IER, UART_IER_THRI);
        CHECK_EQ(p.irq->line[LAYOUT_IRQ_SERIAL], 1);
        CHECK_EQ(in(&p, UART_IIR), UART_IIR_THRI);
        CHECK_EQ(p.irq->line[LAYOUT_IRQ_SERIAL], 0); /* reading acknowledged it */
        CHECK_EQ(in(&p, UART_IIR), UART_IIR_NO_INT);
        out(&p, UART_TX, 'x');
        CHECK_EQ(p.irq->edges[LAYOUT_IRQ_SERIAL], 2);
        out(&p, UART_IER, 0);
        CHECK_EQ(p.irq->line[LAYOUT_IRQ_SERIAL], 0);
        port_done(&p);
}

static void wait_for_input(struct port *p) {
        struct timespec ms = { .tv_nsec = 1000000 };

        for (unsigned i = 0; i < 2000 && !(in(p, UART_LSR) & UART_LSR_DR); i++)
                (void) nanosleep(&ms, NULL);
        CHECK(in(p, UART_LSR) & UART_LSR_DR);
}

/* More than the FIFO holds: the rest stays in the socket until the guest has read. */
static void test_input(void) {
        struct port p;
        char text[40];

        port_init(&p);
        for (unsigned i = 0; i < sizeof(text); i++)
                text[i] = (char) ('0' + i);
        out(&p, UART_FCR, UART_FCR_ENABLE_FIFO);
        CHECK_EQ(in(&p, UART_IIR) & 0xc0, 0xc0);
        out(&p, UART_IER, UART_IER_RDI);
        CHECK_EQ(serial_start(p.serial, NULL, NULL), 0);
        CHECK_EQ(write(p.peer, text, sizeof(text)), sizeof(text));
        wait_for_input(&p);
        CHECK_EQ(p.irq->line[LAYOUT_IRQ_SERIAL], 1);
        CHECK_EQ(in(&p, UART_IIR) & 0x0f, UART_IIR_RDI);
        for (unsigned i = 0; i < sizeof(text); i++) {
                CHECK(in(&p, UART_LSR) & UART_LSR_DR);
                CHECK_EQ(in(&p, UART_RX), text[i]);
        }
        CHECK(!(in(&p, UART_LSR) & UART_LSR_DR));
        CHECK_EQ(in(&p, UART_RX), 0);
        CHECK_EQ(p.irq->line[LAYOUT_IRQ_SERIAL], 0);
        port_done(&p);
}

static void test_divisor_and_scratch(void) {
        struct port p;

        port_init(&p);
        out(&p, UART_SCR, 0x5a);
        CHECK_EQ(in(&p, UART_SCR), 0x5a);
        out(&p, UART_LCR, UART_LCR_DLAB);
        out(&p, UART_DLL, 1);
        out(&p, UART_DLM, 2);
        CHECK_EQ(in(&p, UART_DLL), 1);
        CHECK_EQ(in(&p, UART_DLM), 2);
        out(&p, UART_LCR, UART_LCR_WLEN8);
        CHECK_EQ(in(&p, UART_IER), 0);
        /* Reset: everything as after power on. */
        machine_reset(&p);
        CHECK_EQ(in(&p, UART_SCR), 0);
        CHECK_EQ(in(&p, UART_LCR), 0);
        port_done(&p);
}

/* How drivers find out that there is a UART. */
static void test_loopback(void) {
        struct port p;

        port_init(&p);
        out(&p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
        CHECK_EQ(in(&p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
        out(&p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
        CHECK_EQ(in(&p, UART_MSR) & 0xf0, UART_MSR_RI | UART_MSR_DSR);
        out(&p, UART_TX, 'y');
        CHECK_EQ(in(&p, UART_RX), 'y');
        for (unsigned i = 0; i < 100; i++)
                out(&p, UART_TX, 'z');
        out(&p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
        CHECK(!(in(&p, UART_LSR) & UART_LSR_DR));
        port_done(&p);
}

/* Input that comes during loopback waits outside, and is there when the loop is opened. */
static void test_input_during_loopback(void) {
        struct port p;

        port_init(&p);
        CHECK_EQ(serial_start(p.serial, NULL, NULL), 0);
        out(&p, UART_MCR, UART_MCR_LOOP);
        CHECK_EQ(write(p.peer, "ab", 2), 2);
        (void) usleep(20000); /* the port's thread has been woken for it */
        out(&p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
        CHECK(!(in(&p, UART_LSR) & UART_LSR_DR));
        out(&p, UART_TX, 'x');
        CHECK_EQ(in(&p, UART_RX), 'x');
        CHECK(!(in(&p, UART_LSR) & UART_LSR_DR));
        out(&p, UART_MCR, 0);
        wait_for_input(&p);
        CHECK_EQ(in(&p, UART_RX), 'a');
        CHECK_EQ(in(&p, UART_RX), 'b');
        port_done(&p);
}

/* What was typed and did not fit goes to the guest after the reset. */
static void test_input_over_a_reset(void) {
        struct port p;

        port_init(&p);
        CHECK_EQ(serial_start(p.serial, NULL, NULL), 0);
        CHECK_EQ(write(p.peer, "0123456789abcdefroot", 20), 20);
        wait_for_input(&p);
        (void) usleep(20000); /* the FIFO is full */
        machine_reset(&p);
        CHECK_EQ(in(&p, UART_RX), 'r');
        CHECK_EQ(in(&p, UART_RX), 'o');
        port_done(&p);
}

int main(void) {
        RUN(test_output);
        RUN(test_output_that_nobody_reads);
        RUN(test_log);
        RUN(test_no_terminal);
        RUN(test_transmitter_interrupt);
        RUN(test_input);
        RUN(test_divisor_and_scratch);
        RUN(test_loopback);
        RUN(test_input_during_loopback);
        RUN(test_input_over_a_reset);
        return 0;
}
