/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * I/O vectors: cutting, measuring, alignment. Vectors come from the virtqueue code,
 * which has bounded their number and checked that they lie in guest memory; here they are
 * only regrouped. A slice never covers a byte that the original did not.
 */
#include "iov.h"

#include "cleanup.h"

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t offset, size_t len, struct iovec *ret) {
        unsigned used = 0;

        for (unsigned i = 0; i < n && len > 0; i++) {
                if (offset >= iov[i].iov_len) {
                        offset -= iov[i].iov_len;
                        continue;
                }
                ret[used].iov_base = (uint8_t *) iov[i].iov_base + offset;
                ret[used].iov_len = MIN(iov[i].iov_len - offset, len);
                len -= ret[used].iov_len;
                offset = 0;
                used++;
        }
        return used;
}

size_t iov_size(const struct iovec *iov, unsigned n) {
        size_t size = 0;

        for (unsigned i = 0; i < n; i++)
                size += iov[i].iov_len;
        return size;
}

bool iov_is_aligned(const struct iovec *iov, unsigned n, size_t align) {
        for (unsigned i = 0; i < n; i++)
                if (((uintptr_t) iov[i].iov_base | iov[i].iov_len) & (align - 1))
                        return false;
        return true;
}
