/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio console device (virtio 1.2 §5.3) with MULTIPORT. Each port has a receive
 * and a transmit queue; a pair of control queues tells the driver which ports there
 * are, and each side whether the other has a port open.
 *
 * Port number 0 is reserved for a console, as guests expect hvc0 there: if the first
 * port is a channel, numbering starts at 1 and 0 is never added.
 *
 * Host ends are streams. A pty master is kept usable by holding its other end
 * open (TIOCGPTPEER), so that it never hangs up and never needs to be polled for a
 * reader. A listening socket serves one peer at a time.
 *
 * Flow control: input waits in the host's buffers until the driver offers room (and, for
 * a channel, has the port open). Output of a channel waits in its queue until the peer
 * reads. A console must not wait: Linux spins with interrupts off until the device has
 * taken its text, so what the host end does not take within CONSOLE_PATIENCE_MS is
 * dropped. A port's log gets all text once, as it goes to the host end or is dropped.
 *
 * No chain blocks the loop: a chain too long for one turn goes back to its queue, and tx_done records the
 * progress.
 *
 * Control messages to the driver are kept as one bit per kind and port instead of a
 * list, so they cannot grow while the driver offers no buffers.
 *
 * Thread: the device's loop.
 */
#include "console.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../core/again.h"
#include "../core/virtio.h"
#include "kind.h"
#include "output_log.h"

#define CONSOLE_QUEUE_SIZE  128u
#define CONSOLE_IDS_MAX     (CTL_PORTS_MAX + 1)         /* with a reserved 0 */
#define CONSOLE_QUEUES_MAX  (2 * (CONSOLE_IDS_MAX + 1)) /* and the control pair */
#define CONSOLE_BUDGET      64u                         /* chains per port and turn of the loop */
#define CONSOLE_BYTES       (256u << 10)                /* and bytes: a chain may hold all that a guest has */
#define CONSOLE_PATIENCE_MS 10
#define QUEUE_CONTROL_RX    2u
#define QUEUE_CONTROL_TX    3u

/* Control messages that the driver has yet to get, in the order in which it gets them. */
enum pending {
        PENDING_ADD = BIT(0),
        PENDING_CONSOLE = BIT(1),
        PENDING_NAME = BIT(2),
        PENDING_OPEN = BIT(3), /* sends the state of the moment */
        PENDING_MAX = BIT(4),
};

struct console;

struct port {
        struct console *console;
        unsigned index; /* in the configuration */
        unsigned id;    /* the driver's number */
        char name[CTL_NAME_MAX];
        bool is_console;
        int listen_fd;
        int fd;       /* -EBADF: no peer */
        int other_fd; /* the pty's other end, never used */
        struct loop_source *source, *listen_source;
        uint32_t watched;
        bool guest_open;
        bool rx_blocked; /* no receive buffers */
        bool tx_blocked; /* waits for the host end */
        bool stalled;    /* console: output is being dropped */
        size_t tx_done;  /* bytes of the first available chain that are out already */
        struct output_log log;
        unsigned pending;
};

struct console {
        struct virtio_device dev;
        struct virtqueue queues[CONSOLE_QUEUES_MAX];
        struct virtio_console_config config;
        struct again again;
        char name[CTL_NAME_MAX];
        bool active, multiport;
        bool quiet; /* the machine stands still */
        unsigned n_ports;
        struct port ports[CTL_PORTS_MAX];
        void (*port_open)(void *arg, unsigned port, bool open);
        void *arg;
        struct vq_chain chain;
};

static unsigned rx_queue(const struct port *p) {
        return p->id == 0 ? 0 : 2 * p->id + 2;
}

static unsigned tx_queue(const struct port *p) {
        return rx_queue(p) + 1;
}

static struct port *port_find(struct console *c, unsigned id) {
        unsigned first = c->ports[0].id;
        return id >= first && id - first < c->n_ports ? &c->ports[id - first] : NULL;
}

static struct port *port_of_queue(struct console *c, unsigned queue) {
        return port_find(c, queue < 2 ? 0 : (queue - 2) / 2);
}

static bool port_wants_input(const struct port *p) {
        const struct console *c = p->console;

        return p->fd >= 0 && c->active && !c->quiet && c->queues[rx_queue(p)].enabled && !p->rx_blocked &&
               (p->is_console || p->guest_open);
}

static void port_event(void *arg, uint32_t events);

/*
 * Watches the host end for events that can be handled now; if there are none, not at all, since a hang-up is
 * always reported.
 */
static void port_watch(struct port *p) {
        uint32_t events = 0;

        if (port_wants_input(p))
                events |= EPOLLIN;
        if (p->fd >= 0 && p->tx_blocked && !p->console->quiet)
                events |= EPOLLOUT;
        if (events == p->watched)
                return;
        p->watched = events;
        if (events == 0)
                p->source = loop_remove(p->source);
        else if (p->source)
                (void) loop_set_events(p->source, events);
        else if (loop_add_fd(p->console->dev.loop, p->fd, events, port_event, p, &p->source) < 0)
                p->watched = 0;
}

static void control_send(struct console *c);
static void port_transmit(struct port *p);

/* The host end is gone: tell the driver, let its queued output go. */
static void port_hang_up(struct port *p) {
        p->source = loop_remove(p->source);
        p->watched = 0;
        close_fd(&p->fd);
        p->tx_blocked = false;
        p->pending |= PENDING_OPEN;
        control_send(p->console);
}

static void port_set_guest_open(struct port *p, bool open) {
        if (p->guest_open == open)
                return;
        p->guest_open = open;
        if (p->console->port_open)
                p->console->port_open(p->console->arg, p->index, open);
        port_watch(p);
}

/* Also to sockets, which are non-blocking: the process ignores SIGPIPE, and its filter has no sendmsg(). */
static ssize_t port_writev(struct port *p, struct iovec *iov, unsigned n) {
        ssize_t r = writev(p->fd, iov, n);
        return r < 0 ? -errno : r;
}

/* A console's host end is full: wait a moment for a reader, but only once until it has read. */
static bool console_may_retry(struct port *p) {
        struct pollfd pfd = { .fd = p->fd, .events = POLLOUT };

        if (!p->stalled && poll(&pfd, 1, CONSOLE_PATIENCE_MS) == 1)
                return true;
        p->stalled = true;
        return false;
}

/*
 * What the host may have more of later, or a file that has reached its limit and may be made shorter. A console goes on
 * without the text, as there is nobody to connect it again.
 */
static bool is_passing(int error) {
        return error == -EFBIG || error == -ENOSPC || error == -ENOMEM || error == -ENOBUFS || error == -EIO;
}

/* What goes to the host end, or is dropped, goes to the log. */
static void port_log(struct port *p, const struct vq_chain *chain, size_t len) {
        struct iovec iov[VQ_SIZE_MAX];

        if (p->log.fd >= 0)
                output_log_write(&p->log, p->name[0] ? p->name : p->console->name, iov,
                                 iov_slice(chain->iov, chain->n_out, p->tx_done, len, iov), CONSOLE_PATIENCE_MS);
}

enum progress { WRITTEN, HOST_IS_FULL, TURN_IS_OVER };

/* The host end takes no more of this chain: only the log gets the rest, as far as this turn goes. */
static enum progress port_drop_rest(struct port *p, const struct vq_chain *chain, size_t *left) {
        size_t len = MIN(chain->out_len - p->tx_done, *left);

        if (p->log.fd >= 0) {
                port_log(p, chain, len);
                p->tx_done += len;
                *left -= len;
                if (p->tx_done < chain->out_len)
                        return TURN_IS_OVER;
        }
        p->tx_done = 0;
        return WRITTEN;
}

/*
 * Writes the chain out, or as much of it as there is room for at the host end and in *left, the bytes of this turn,
 * which ends when another thread wants something: a reset, a pause, the end.
 */
static enum progress port_write_chain(struct port *p, const struct vq_chain *chain, size_t *left) {
        /* After an unpop the driver may have changed the chain; then the offset merely cuts it elsewhere. */
        while (p->fd >= 0 && p->tx_done < chain->out_len) {
                struct iovec iov[VQ_SIZE_MAX];
                unsigned n = iov_slice(chain->iov, chain->n_out, p->tx_done, *left, iov);
                ssize_t r;

                if (*left == 0)
                        return TURN_IS_OVER;
                r = port_writev(p, iov, n);
                if (r > 0) {
                        port_log(p, chain, r);
                        p->tx_done += r;
                        *left = loop_is_called(p->console->dev.loop) ? 0 : *left - r;
                        p->stalled = false;
                } else if (r == -EAGAIN || r == 0) {
                        if (!p->is_console)
                                return HOST_IS_FULL;
                        if (!console_may_retry(p))
                                break;
                } else if (p->is_console && is_passing(r)) {
                        break;
                } else if (r != -EINTR)
                        port_hang_up(p);
        }
        return port_drop_rest(p, chain, left);
}

static void port_transmit(struct port *p) {
        struct console *c = p->console;
        struct virtqueue *vq = &c->queues[tx_queue(p)];
        enum progress progress = WRITTEN;
        size_t left = CONSOLE_BYTES;
        unsigned served = 0;

        if (!c->active || !vq->enabled)
                return;
        while (progress == WRITTEN && virtio_queue_pop(&c->dev, tx_queue(p), &c->chain) > 0) {
                progress = port_write_chain(p, &c->chain, &left);
                if (progress != WRITTEN)
                        vq_unpop(vq, 1);
                else
                        vq_push(vq, &c->chain, 0);
                if (++served == CONSOLE_BUDGET && progress == WRITTEN)
                        progress = TURN_IS_OVER;
        }
        p->tx_blocked = progress == HOST_IS_FULL;
        if (progress == TURN_IS_OVER)
                again_raise(&c->again);
        port_watch(p);
        virtio_queue_flush(&c->dev, tx_queue(p));
}

/* Reads into the next chain, at most *left bytes. False: no more now. */
static bool port_read_chain(struct port *p, struct virtqueue *vq, size_t *left) {
        struct vq_chain *chain = &p->console->chain;
        int r = virtio_queue_pop(&p->console->dev, rx_queue(p), chain);
        struct iovec iov[VQ_SIZE_MAX];
        ssize_t n;

        if (r <= 0) {
                p->rx_blocked = true;
                return false;
        }
        if (chain->in_len == 0) {
                virtio_device_fail(&p->console->dev, "port %u: receive buffer without room", p->id);
                return false;
        }
        n = readv(p->fd, iov, iov_slice(chain->iov + chain->n_out, chain->n_in, 0, *left, iov));
        if (n > 0) {
                vq_chain_wrote(chain, 0, n);
                vq_push(vq, chain, n);
                *left -= n;
                return *left > 0 && !loop_is_called(p->console->dev.loop);
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                vq_unpop(vq, 1);
                port_hang_up(p);
                port_transmit(p);
                return false;
        }
        vq_unpop(vq, 1);
        return false;
}

static void port_receive(struct port *p) {
        struct console *c = p->console;
        struct virtqueue *vq = &c->queues[rx_queue(p)];
        size_t left = CONSOLE_BYTES;

        for (unsigned i = 0; i < CONSOLE_BUDGET && port_wants_input(p) && vq->enabled; i++)
                if (!port_read_chain(p, vq, &left))
                        break;
        port_watch(p);
        if (c->active)
                virtio_queue_flush(&c->dev, rx_queue(p));
}

static void port_event(void *arg, uint32_t events) {
        struct port *p = arg;

        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && p->tx_blocked)
                port_transmit(p);
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && port_wants_input(p))
                port_receive(p);
}

static bool peer_has_left(const struct port *p) {
        struct pollfd pfd = { .fd = p->fd };
        return poll(&pfd, 1, 0) == 1 && pfd.revents & (POLLHUP | POLLERR);
}

/* One peer at a time; a new one is let in when the old one has gone without having been missed. */
static void port_accept(void *arg, uint32_t events) {
        struct port *p = arg;
        AUTOCLOSE int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        if (p->fd >= 0) {
                if (!peer_has_left(p))
                        return;
                port_hang_up(p);
                port_transmit(p);
        }
        p->fd = take_fd(&fd);
        p->pending |= PENDING_OPEN;
        control_send(p->console);
        port_watch(p);
}

/* §5.3.6.2: the message for one pending bit; returns its length. */
static size_t control_format(const struct port *p, unsigned bit, uint8_t *buffer) {
        struct virtio_console_control message = { .id = htole32(p->id), .value = htole16(1) };
        size_t len = sizeof(message);

        switch (bit) {
        case PENDING_ADD:
                message.event = htole16(VIRTIO_CONSOLE_PORT_ADD);
                break;
        case PENDING_CONSOLE:
                message.event = htole16(VIRTIO_CONSOLE_CONSOLE_PORT);
                break;
        case PENDING_NAME:
                message.event = htole16(VIRTIO_CONSOLE_PORT_NAME);
                memcpy(buffer + len, p->name, strlen(p->name));
                len += strlen(p->name);
                break;
        default:
                message.event = htole16(VIRTIO_CONSOLE_PORT_OPEN);
                message.value = htole16(p->fd >= 0);
        }
        memcpy(buffer, &message, sizeof(message));
        return len;
}

/* Sends one pending message; false: no buffer. Has a chain of its own: a transmission may be under way. */
static bool control_send_one(struct console *c, struct port *p, unsigned bit) {
        uint8_t buffer[sizeof(struct virtio_console_control) + CTL_NAME_MAX];
        size_t len = control_format(p, bit, buffer);
        struct vq_chain chain;

        if (virtio_queue_pop(&c->dev, QUEUE_CONTROL_RX, &chain) <= 0)
                return false;
        if (chain.in_len < len) {
                virtio_device_fail(&c->dev, "control buffer of %zu bytes", chain.in_len);
                return false;
        }
        (void) vq_chain_write(&chain, 0, buffer, len);
        vq_push(&c->queues[QUEUE_CONTROL_RX], &chain, len);
        p->pending &= ~bit;
        return true;
}

/* Sends what is pending as far as the driver has given buffers. */
static void control_send(struct console *c) {
        bool room = true;

        if (!c->active || !c->multiport || !c->queues[QUEUE_CONTROL_RX].enabled)
                return;
        for (struct port *p = c->ports; room && p < c->ports + c->n_ports; p++)
                for (unsigned bit = 1; room && bit < PENDING_MAX; bit <<= 1)
                        if (p->pending & bit)
                                room = control_send_one(c, p, bit);
        virtio_queue_flush(&c->dev, QUEUE_CONTROL_RX);
}

/* A port whose number the driver has learnt: everything else about it. */
static void control_port_ready(struct port *p) {
        if (p->is_console)
                p->pending |= PENDING_CONSOLE;
        if (p->name[0])
                p->pending |= PENDING_NAME;
        if (p->fd >= 0)
                p->pending |= PENDING_OPEN;
}

static void control_handle(struct console *c, const struct virtio_console_control *message) {
        struct port *p = port_find(c, le32toh(message->id));
        uint16_t value = le16toh(message->value);

        switch (le16toh(message->event)) {
        case VIRTIO_CONSOLE_DEVICE_READY:
                for (unsigned i = 0; i < c->n_ports; i++)
                        c->ports[i].pending = value ? PENDING_ADD : 0;
                return;
        case VIRTIO_CONSOLE_PORT_READY:
                if (p && value)
                        control_port_ready(p);
                break;
        case VIRTIO_CONSOLE_PORT_OPEN:
                if (p)
                        port_set_guest_open(p, value);
                break;
        default:
                p = NULL;
        }
        if (!p)
                log_guest_error(&c->dev.guest_errors, c->name, "control message %u for port %u",
                                le16toh(message->event), le32toh(message->id));
}

static void control_receive(struct console *c) {
        struct virtqueue *vq = &c->queues[QUEUE_CONTROL_TX];
        unsigned served = 0;

        if (!c->active || !c->multiport || !vq->enabled)
                return;
        while (virtio_queue_pop(&c->dev, QUEUE_CONTROL_TX, &c->chain) > 0) {
                struct virtio_console_control message;
                if (vq_chain_read(&c->chain, 0, &message, sizeof(message)) < sizeof(message))
                        return virtio_device_fail(&c->dev, "control message of %zu bytes", c->chain.out_len);
                vq_push(vq, &c->chain, 0);
                control_handle(c, &message);
                if (++served == CONSOLE_BUDGET) {
                        again_raise(&c->again);
                        break;
                }
        }
        virtio_queue_flush(&c->dev, QUEUE_CONTROL_TX);
        control_send(c);
}

static void console_again(void *arg) {
        struct console *c = arg;

        control_receive(c);
        for (unsigned i = 0; i < c->n_ports; i++)
                if (!c->ports[i].tx_blocked)
                        port_transmit(&c->ports[i]);
}

static void console_kick(struct virtio_device *dev, unsigned index) {
        struct console *c = (struct console *) dev;
        struct port *p = port_of_queue(c, index);

        if (index == QUEUE_CONTROL_RX)
                return control_send(c);
        if (index == QUEUE_CONTROL_TX)
                return control_receive(c);
        if (!p)
                return;
        if (index == tx_queue(p)) {
                if (!p->tx_blocked)
                        port_transmit(p);
                return;
        }
        p->rx_blocked = false;
        port_watch(p);
}

static int console_activate(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;
        struct port *first = port_find(c, 0);

        c->active = true;
        c->multiport = dev->features & BIT64(VIRTIO_CONSOLE_F_MULTIPORT);
        /* Without MULTIPORT there is only port 0, and nobody says that it is open. */
        if (!c->multiport && first)
                port_set_guest_open(first, true);
        for (unsigned i = 0; i < c->n_ports; i++)
                port_watch(&c->ports[i]);
        return 0;
}

static bool console_reset(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;

        c->active = false;
        for (struct port *p = c->ports; p < c->ports + c->n_ports; p++) {
                p->pending = 0;
                p->rx_blocked = p->tx_blocked = p->stalled = false;
                p->tx_done = 0;
                port_set_guest_open(p, false);
                port_watch(p);
        }
        for (unsigned i = 0; i < dev->n_queues; i++)
                vq_reset(&c->queues[i]);
        return true;
}

/* Peers may come meanwhile; the driver is told when it runs again. */
static bool console_quiesce(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;

        c->quiet = true;
        for (unsigned i = 0; i < c->n_ports; i++)
                port_watch(&c->ports[i]);
        return true;
}

static void console_resume(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;

        c->quiet = false;
        control_receive(c);
        for (unsigned i = 0; i < c->n_ports; i++) {
                c->ports[i].rx_blocked = false;
                port_transmit(&c->ports[i]);
                port_watch(&c->ports[i]);
        }
}

static void console_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        struct console *c = (struct console *) dev;
        memcpy(data, (uint8_t *) &c->config + offset, len);
}

static void console_free(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;

        c->dev.loop = loop_free(c->dev.loop);
        again_done(&c->again);
        for (struct port *p = c->ports; p < c->ports + c->n_ports; p++) {
                close_fd(&p->fd);
                close_fd(&p->listen_fd);
                close_fd(&p->other_fd);
                output_log_done(&p->log);
        }
        free(c);
}

static const struct virtio_device_ops console_ops = {
        .config_read = console_config_read,
        .activate = console_activate,
        .reset = console_reset,
        .quiesce = console_quiesce,
        .resume = console_resume,
        .kick = console_kick,
        .free = console_free,
};

/* Raw, so that nothing is echoed back to the guest, and the other end held open. */
static int port_prepare_pty(int fd) {
        struct termios termios;
        int other = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (other < 0)
                return -EBADF; /* not a pty master */
        if (tcgetattr(fd, &termios) == 0) {
                cfmakeraw(&termios);
                (void) tcsetattr(fd, TCSANOW, &termios);
        }
        return other;
}

/* Everything that can fail comes before the descriptor changes hands. */
static int port_init(struct port *p, const struct console_port_config *config) {
        int flags = fcntl(config->fd, F_GETFL), listening = 0;
        socklen_t size = sizeof(listening);

        if (flags < 0)
                return -errno;
        p->is_console = config->is_console;
        (void) snprintf(p->name, sizeof(p->name), "%s", config->name ?: "");
        if (config->is_socket) {
                if (getsockopt(config->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
                        return -errno;
                if (!listening)
                        return -EINVAL;
        } else if ((flags & O_ACCMODE) == O_RDONLY)
                return -EBADF;
        if (fcntl(config->fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        if (config->is_socket)
                return loop_add_fd(p->console->dev.loop, config->fd, EPOLLIN, port_accept, p, &p->listen_source);
        p->other_fd = port_prepare_pty(config->fd);
        return 0;
}

static int port_init_log(struct port *p, const struct console_port_config *config) {
        return config->log_fd > 0 ? output_log_init(&p->log, config->log_fd) : 0;
}

static void console_init(struct console *c, const struct console_config *config) {
        unsigned first_id = config->ports[0].is_console ? 0 : 1;

        (void) snprintf(c->name, sizeof(c->name), "%s", config->name ?: "console");
        c->port_open = config->port_open;
        c->arg = config->arg;
        c->again = (struct again) AGAIN_INIT;
        c->n_ports = config->n_ports;
        c->config.max_nr_ports = htole32(first_id + config->n_ports);
        for (unsigned i = 0; i < c->n_ports; i++)
                c->ports[i] = (struct port) {
                        .console = c,
                        .index = i,
                        .id = first_id + i,
                        .fd = -EBADF,
                        .listen_fd = -EBADF,
                        .other_fd = -EBADF,
                        .log = OUTPUT_LOG_NONE,
                };
        c->dev = (struct virtio_device) {
                .ops = &console_ops,
                .name = c->name,
                .type = VIRTIO_ID_CONSOLE,
                .pci_class = 0x078000, /* communication controller, other */
                .role = { .kind = THREAD_CONSOLE },
                .config_size = sizeof(c->config),
                .n_queues = 2 * (first_id + config->n_ports + 1),
                .queues = c->queues,
                .host_features = BIT64(VIRTIO_CONSOLE_F_MULTIPORT),
        };
        for (unsigned i = 0; i < c->dev.n_queues; i++)
                c->queues[i].size_max = CONSOLE_QUEUE_SIZE;
}

int console_new(const struct console_config *config, struct virtio_device **ret) {
        struct console *c;
        int r;

        if (config->n_ports < 1 || config->n_ports > CTL_PORTS_MAX)
                return -EINVAL;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        console_init(c, config);
        r = loop_new(c->name, &c->dev.loop);
        if (r == 0)
                r = again_init(&c->again, c->dev.loop, console_again, c);
        for (unsigned i = 0; r == 0 && i < c->n_ports; i++)
                r = port_init(&c->ports[i], &config->ports[i]);
        for (unsigned i = 0; r == 0 && i < c->n_ports; i++)
                r = port_init_log(&c->ports[i], &config->ports[i]);
        if (r < 0) {
                for (unsigned i = 0; i < c->n_ports; i++)
                        c->ports[i].log = OUTPUT_LOG_NONE; /* still the caller's */
                console_free(&c->dev);
                return r;
        }
        for (unsigned i = 0; i < c->n_ports; i++)
                *(config->ports[i].is_socket ? &c->ports[i].listen_fd : &c->ports[i].fd) = config->ports[i].fd;
        *ret = &c->dev;
        return 0;
}

const struct device_kind port_kind = { .name = "port", .add = CTL_ADD_PORT, .max = CTL_PORTS_MAX };
