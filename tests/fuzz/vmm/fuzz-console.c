/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console device under a hostile driver, with input waiting on a channel. The
 * device's source is included to reach its handler of input.
 */
#include <sys/socket.h>

#include "dev/console.c"

#include "fuzz-device.h"

static void input(struct virtio_device *dev) {
        struct console *c = (struct console *) dev;

        for (unsigned i = 0; i < c->n_ports; i++)
                port_event(&c->ports[i], EPOLLIN | EPOLLOUT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct console_config config = { .name = "console", .n_ports = 2 };
        struct guest_mem *mem = fuzz_memory();
        struct virtio_device *dev;
        int fds[2][2];

        for (unsigned i = 0; i < 2; i++)
                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds[i]) < 0 ||
                    write(fds[i][1], "some input", 10) != 10)
                        abort();
        config.ports[0] = (struct console_port_config) { .fd = fds[0][0], .is_console = true };
        config.ports[1] = (struct console_port_config) { .fd = fds[1][0], .name = "org.fuzz" };
        if (console_new(&config, &dev) < 0)
                abort();
        fuzz_run(dev, mem, data, size, input);
        dev->ops->free(dev);
        close_fd(&fds[0][1]);
        close_fd(&fds[1][1]);
        guest_mem_free(mem);
        return 0;
}
