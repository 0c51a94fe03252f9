/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One packet of the control protocol with its descriptors: receive, check, send. Both
 * programs link this file; it needs nothing of the monitor but ctl.h and cleanup.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ctl.h"

struct ctl_message {
        union {
                struct ctl_header header;
                uint64_t align;
                uint8_t data[CTL_MESSAGE_MAX];
        };
        size_t length; /* bytes received */
        unsigned n_fds;
        int fds[CTL_FDS_MAX]; /* owned by the message until taken with take_fd() */
};

enum ctl_sender {
        CTL_SENDER_DAEMON,  /* requests */
        CTL_SENDER_MONITOR, /* replies and events */
};

/*
 * Receives one packet. 1: *ret is filled, the caller ends it with ctl_message_done(). 0:
 * the peer has closed. -EAGAIN: nothing there. -EBADMSG: a packet that cannot be answered
 * (too short for a header, wrong magic); its descriptors are closed. -EMSGSIZE: too large
 * or too many descriptors, the header in *ret is good and can be answered, no descriptor
 * is left open.
 */
int ctl_receive(int fd, struct ctl_message *ret);
void ctl_message_done(struct ctl_message *message);

/*
 * Checks everything about a message of `version` that needs no state: type, version, length,
 * count of descriptors, NUL termination, flags, enums, padding. 0: every field of the newest
 * struct may be used, those that `version` lacks are 0. -EOPNOTSUPP for an unknown type;
 * -EPROTONOSUPPORT for another version; -EBADMSG for a wrong size or count; -EINVAL for a value.
 * On error `text` gets a sentence, and nothing but the header's type and serial may be used.
 */
int ctl_check(struct ctl_message *message, enum ctl_sender sender, uint32_t version, char text[static CTL_TEXT_MAX]);

/* The version that this program, which speaks `own_min` and later ones, and a peer of `min` to `max` agree on; 0: none.
 */
uint32_t ctl_version_agree(uint32_t own_min, uint32_t min, uint32_t max);

/*
 * Converts a message from the newest version to `version`. -EOPNOTSUPP with a sentence in `text`:
 * that version has no such message, or cannot say what this one says. A reply always fits.
 */
int ctl_fit(struct ctl_header *header, uint32_t version, unsigned n_fds, char text[static CTL_TEXT_MAX]);

/*
 * Sends one packet; the header's `length` says how long it is. Never blocks on a
 * non-blocking socket (-EAGAIN), never raises SIGPIPE. The descriptors stay the caller's.
 */
int ctl_send(int fd, const void *message, const int *fds, unsigned n_fds);

/* Fills in a header in the newest version. */
void ctl_header_init(struct ctl_header *header, uint16_t type, uint32_t serial, size_t length);

/* The size of the newest reply to a request of this type; that of struct ctl_reply for unknown types. */
size_t ctl_reply_size(uint16_t type);

/* "ADD_DISK" for CTL_ADD_DISK; "?" for unknown types. Static. */
const char *ctl_type_name(uint16_t type);
