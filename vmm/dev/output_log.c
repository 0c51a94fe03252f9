/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thread: whichever owns the device's state; nothing here is shared between devices.
 */
#include "output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../core/virtqueue.h"

int output_log_init(struct output_log *log, int fd) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        if ((flags & O_ACCMODE) == O_RDONLY)
                return -EBADF;
        if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        *log = (struct output_log) { .fd = fd };
        return 0;
}

void output_log_done(struct output_log *log) {
        close_fd(&log->fd);
}

void output_log_lose(struct output_log *log, const char *device, uint64_t bytes) {
        log->lost += bytes;
        if (log_guest_may(&log->told))
                log_infox("%s: the guest prints faster than its log is written; %llu bytes are not in it so far",
                          device, (unsigned long long) log->lost);
}

static bool may_retry(struct output_log *log, int patience) {
        struct pollfd pfd = { .fd = log->fd, .events = POLLOUT };

        if (!log->full && patience > 0 && poll(&pfd, 1, patience) == 1)
                return true;
        log->full = true;
        return false;
}

void output_log_put(struct output_log *log, const char *device, uint8_t byte) {
        if (log->fd >= 0 && write(log->fd, &byte, 1) != 1)
                output_log_lose(log, device, 1);
}

void output_log_write(struct output_log *log, const char *device, const struct iovec *iov, unsigned n, int patience) {
        size_t len = iov_size(iov, n), done = 0;

        if (log->fd < 0)
                return;
        while (done < len) {
                struct iovec rest[VQ_SIZE_MAX];
                unsigned n_rest = iov_slice(iov, n, done, len - done, rest);
                ssize_t r = writev(log->fd, rest, n_rest);

                if (r > 0) {
                        done += r;
                        log->full = false;
                } else if (r < 0 && errno == EINTR) {
                        continue;
                } else if (r == 0 || errno != EAGAIN || !may_retry(log, patience)) {
                        break;
                }
        }
        if (done < len)
                output_log_lose(log, device, len - done);
}
