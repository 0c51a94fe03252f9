/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 16550A UART at the ports and IRQ of COM1. Register names are those of linux/serial_reg.h, behaviour follows
 * the PC16550D data sheet as far as software can tell: there is no line, so bytes are transferred at once, the
 * baud rate is stored but ignored, and there are no framing, parity or overrun errors.
 *
 * Registers are served on vCPU threads, input comes on a thread of the port's own; one
 * lock guards both. The descriptor is non-blocking. What it does not take waits in a
 * buffer of OUTPUT_BYTES, what does not fit there is dropped: a guest must never wait
 * for somebody to read its console. Input is read only as far as the receive FIFO has
 * room: the thread watches edge-triggered, and the vCPU that empties the FIFO fetches
 * more itself. So a flood of input stays in the pty, and a pty that nobody has open,
 * which polls as hung up all the time, costs nothing.
 *
 * The interrupt line follows the condition in IIR; the pin is edge triggered.
 */
#include "serial.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "../../base/cleanup.h"
#include "../../core/loop.h"
#include "../../dev/output_log.h"
#include "layout.h"

#define SERIAL_PORTS     8u
#define FIFO_BYTES       16u
#define OUTPUT_BYTES     16384u
#define DIVISOR_9600     12u
#define IIR_FIFO_ENABLED 0xc0u /* bits 7:6: a 16550A with its FIFO on */

struct serial {
        struct part part;
        struct bus *pio;
        struct irq *irq;
        struct loop *loop;
        int fd;

        pthread_mutex_t lock; /* guards what follows */
        uint8_t ier, fcr, lcr, mcr, scratch;
        uint16_t divisor;
        bool thr_interrupt; /* THR has become empty and nobody has been told */
        bool line;          /* state of the interrupt pin */
        uint8_t rx[FIFO_BYTES];
        unsigned rx_start, rx_len;
        uint8_t tx[OUTPUT_BYTES];
        unsigned tx_start, tx_len;
        struct output_log log;
};

static uint8_t interrupt_id(const struct serial *s) {
        if ((s->ier & UART_IER_RDI) && s->rx_len > 0)
                return UART_IIR_RDI;
        if ((s->ier & UART_IER_THRI) && s->thr_interrupt)
                return UART_IIR_THRI;
        return UART_IIR_NO_INT;
}

static void update_line(struct serial *s) {
        bool line = interrupt_id(s) != UART_IIR_NO_INT;

        if (line == s->line)
                return;
        s->line = line;
        irq_set_line(s->irq, LAYOUT_IRQ_SERIAL, line);
}

static void rx_put(struct serial *s, uint8_t byte) {
        if (s->rx_len == FIFO_BYTES)
                return;
        s->rx[(s->rx_start + s->rx_len) % FIFO_BYTES] = byte;
        s->rx_len++;
}

/*
 * Fetches input until the FIFO is full or there is none. In loopback it stays where it is: the FIFO is for what the
 * guest sends to itself. As the descriptor is watched edge-triggered, whatever makes room afterwards has to call this.
 */
static void rx_fill(struct serial *s) {
        uint8_t buffer[FIFO_BYTES];
        ssize_t n;

        while (s->fd >= 0 && s->rx_len < FIFO_BYTES && !(s->mcr & UART_MCR_LOOP)) {
                n = read(s->fd, buffer, FIFO_BYTES - s->rx_len);
                if (n <= 0)
                        return;
                for (ssize_t i = 0; i < n; i++)
                        rx_put(s, buffer[i]);
        }
}

static uint8_t rx_take(struct serial *s) {
        uint8_t byte;

        if (s->rx_len == 0)
                return 0;
        byte = s->rx[s->rx_start];
        s->rx_start = (s->rx_start + 1) % FIFO_BYTES;
        s->rx_len--;
        if (s->rx_len == 0)
                rx_fill(s);
        return byte;
}

static void tx_flush(struct serial *s) {
        while (s->tx_len > 0) {
                unsigned len = MIN(s->tx_len, OUTPUT_BYTES - s->tx_start);
                ssize_t n = write(s->fd, s->tx + s->tx_start, len);

                if (n <= 0)
                        return;
                s->tx_start = (s->tx_start + (unsigned) n) % OUTPUT_BYTES;
                s->tx_len -= (unsigned) n;
        }
}

static void tx_put(struct serial *s, uint8_t byte) {
        if (s->fd < 0)
                return;
        if (s->tx_len < OUTPUT_BYTES) {
                s->tx[(s->tx_start + s->tx_len) % OUTPUT_BYTES] = byte;
                s->tx_len++;
        }
        tx_flush(s);
}

static uint8_t read_iir(struct serial *s) {
        uint8_t id = interrupt_id(s);

        /* Reading IIR acknowledges "transmitter empty", and only that. */
        if (id == UART_IIR_THRI)
                s->thr_interrupt = false;
        if (s->fcr & UART_FCR_ENABLE_FIFO)
                id |= IIR_FIFO_ENABLED;
        return id;
}

/* In loopback the outputs DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
static uint8_t read_msr(const struct serial *s) {
        uint8_t msr = 0;

        if (!(s->mcr & UART_MCR_LOOP))
                return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
        if (s->mcr & UART_MCR_DTR)
                msr |= UART_MSR_DSR;
        if (s->mcr & UART_MCR_RTS)
                msr |= UART_MSR_CTS;
        if (s->mcr & UART_MCR_OUT1)
                msr |= UART_MSR_RI;
        if (s->mcr & UART_MCR_OUT2)
                msr |= UART_MSR_DCD;
        return msr;
}

static uint8_t read_register(struct serial *s, unsigned reg) {
        bool dlab = s->lcr & UART_LCR_DLAB;

        switch (reg) {
        case UART_RX:
                return dlab ? (uint8_t) s->divisor : rx_take(s);
        case UART_IER:
                return dlab ? (uint8_t) (s->divisor >> 8) : s->ier;
        case UART_IIR:
                return read_iir(s);
        case UART_LCR:
                return s->lcr;
        case UART_MCR:
                return s->mcr;
        case UART_LSR:
                return (uint8_t) (UART_LSR_TEMT | UART_LSR_THRE | (s->rx_len > 0 ? UART_LSR_DR : 0));
        case UART_MSR:
                return read_msr(s);
        default:
                return s->scratch;
        }
}

static void transmit(struct serial *s, uint8_t byte) {
        if (s->mcr & UART_MCR_LOOP) {
                rx_put(s, byte);
        } else {
                tx_put(s, byte);
                output_log_put(&s->log, "serial port", byte);
        }
        s->thr_interrupt = true;
}

static void write_ier(struct serial *s, uint8_t value) {
        /* Enabling "transmitter empty" while it is empty interrupts at once. */
        if ((value & UART_IER_THRI) && !(s->ier & UART_IER_THRI))
                s->thr_interrupt = true;
        s->ier = value & (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI);
}

static void write_fcr(struct serial *s, uint8_t value) {
        if (value & UART_FCR_CLEAR_RCVR)
                s->rx_len = 0;
        s->fcr = value & (uint8_t) ~(UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
        rx_fill(s);
}

static void write_register(struct serial *s, unsigned reg, uint8_t value) {
        bool dlab = s->lcr & UART_LCR_DLAB;

        switch (reg) {
        case UART_TX:
                if (dlab)
                        s->divisor = (uint16_t) ((s->divisor & 0xff00) | value);
                else
                        transmit(s, value);
                break;
        case UART_IER:
                if (dlab)
                        s->divisor = (uint16_t) ((s->divisor & 0xff) | value << 8);
                else
                        write_ier(s, value);
                break;
        case UART_FCR:
                write_fcr(s, value);
                break;
        case UART_LCR:
                s->lcr = value;
                break;
        case UART_MCR:
                s->mcr = value & (UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP);
                rx_fill(s);
                break;
        case UART_SCR:
                s->scratch = value;
                break;
        }
}

static void serial_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct serial *s = arg;
        uint8_t *p = data;

        (void) pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < len; i++)
                p[i] = read_register(s, (unsigned) offset + i);
        update_line(s);
        (void) pthread_mutex_unlock(&s->lock);
}

static void serial_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct serial *s = arg;
        const uint8_t *p = data;

        (void) pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < len; i++)
                write_register(s, (unsigned) offset + i, p[i]);
        update_line(s);
        (void) pthread_mutex_unlock(&s->lock);
}

static const struct bus_ops serial_ops = { .read = serial_read, .write = serial_write };

static void on_fd(void *arg, uint32_t events) {
        struct serial *s = arg;

        (void) pthread_mutex_lock(&s->lock);
        if (events & EPOLLOUT)
                tx_flush(s);
        rx_fill(s);
        update_line(s);
        (void) pthread_mutex_unlock(&s->lock);
}

static void reset_registers(struct serial *s) {
        s->ier = s->fcr = s->lcr = s->scratch = 0;
        s->mcr = 0;
        s->divisor = DIVISOR_9600;
        s->thr_interrupt = false;
        s->rx_start = s->rx_len = 0;
}

static int serial_reset(struct part *part, const char **ret_text) {
        struct serial *s = CONTAINER_OF(part, struct serial, part);

        (void) pthread_mutex_lock(&s->lock);
        reset_registers(s);
        rx_fill(s);
        update_line(s);
        (void) pthread_mutex_unlock(&s->lock);
        return 0;
}

static const struct part_ops part_ops = { .reset = serial_reset };

static void free_p(struct serial **serial) {
        serial_free(*serial);
}

/* Files and /dev/null cannot be watched (EPERM): they always take output, and have no input. */
static int watch(struct serial *s, int fd) {
        int flags = fcntl(fd, F_GETFL), r;

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        r = loop_add_fd(s->loop, fd, EPOLLIN | EPOLLOUT | EPOLLET, on_fd, s, NULL);
        return r == -EPERM ? 0 : r;
}

int serial_new(struct parts *parts, struct bus *pio, struct irq *irq, int fd, struct serial **ret) {
        CLEANUP(free_p) struct serial *s = NULL;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->pio = pio;
        s->irq = irq;
        s->fd = -EBADF;
        s->log = OUTPUT_LOG_NONE;
        (void) pthread_mutex_init(&s->lock, NULL);
        reset_registers(s);
        r = loop_new("serial", &s->loop);
        if (r < 0)
                return r;
        if (fd >= 0) {
                r = watch(s, fd);
                if (r < 0)
                        return r;
        }
        r = bus_add(pio, LAYOUT_PORT_SERIAL, SERIAL_PORTS, &serial_ops, s);
        if (r < 0)
                return r;
        s->fd = fd;
        part_add(parts, &s->part, PART_DEVICE, &part_ops);
        *ret = TAKE(s);
        return 0;
}

struct serial *serial_free(struct serial *serial) {
        if (!serial)
                return NULL;
        part_remove(&serial->part);
        bus_remove(serial->pio, serial);
        loop_free(serial->loop);
        close_fd(&serial->fd);
        output_log_done(&serial->log);
        (void) pthread_mutex_destroy(&serial->lock);
        free(serial);
        return NULL;
}

int serial_set_log(struct serial *serial, int fd) {
        return output_log_init(&serial->log, fd);
}

int serial_start(struct serial *serial, int (*prepare)(void *arg), void *arg) {
        return loop_start(serial->loop, prepare, arg);
}
