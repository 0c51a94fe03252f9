/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arithmetic on I/O vectors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Writes to `ret`, which has room for n, the vectors that cover [offset, offset+len) of
 * iov[0..n), less what lies beyond the end. Empty vectors are left out. Returns how many
 * were written.
 */
unsigned iov_slice(const struct iovec *iov, unsigned n, size_t offset, size_t len, struct iovec *ret);

size_t iov_size(const struct iovec *iov, unsigned n);

/* Whether every vector's start and length is a multiple of `align`, a power of two. */
bool iov_is_aligned(const struct iovec *iov, unsigned n, size_t align);
