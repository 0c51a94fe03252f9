/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A recorded session of the control protocol (tests/golden/vmm/ctl/, its format in dump-ctl.c), for a test to play
 * one of its peers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../vmm/ctl/ctl.h"
#include "test.h"

#define SESSION_MAX 64

struct session_packet {
        char direction; /* '>' from the daemon, '<' from the monitor */
        unsigned fds;
        size_t length;
        union {
                struct ctl_header header;
                uint8_t data[CTL_MESSAGE_MAX];
        };
};

struct session {
        unsigned n;
        struct session_packet packets[SESSION_MAX];
};

static inline void session_bytes(struct session_packet *p, const char *word) {
        unsigned at, value;
        const char *hex = strchr(word, '=');

        CHECK(hex && sscanf(word, "%u=", &at) == 1);
        for (hex++; sscanf(hex, "%2x", &value) == 1; hex += 2, at++) {
                CHECK(at < p->length);
                p->data[at] = (uint8_t) value;
        }
}

/* Ends the process when the file cannot be read. */
static inline void session_load(struct session *session, const char *path) {
        FILE *file = fopen(path, "re");
        static char line[16384];

        CHECK(file);
        memset(session, 0, sizeof(*session));
        while (fgets(line, sizeof(line), file)) {
                struct session_packet *p = &session->packets[session->n++];
                char *save = NULL, *word;

                CHECK(session->n <= SESSION_MAX);
                CHECK(sscanf(line, "%c %*s fds=%u length=%zu", &p->direction, &p->fds, &p->length) == 3);
                CHECK(p->length <= CTL_MESSAGE_MAX);
                (void) strtok_r(line, " \n", &save);
                for (unsigned i = 0; i < 3; i++)
                        (void) strtok_r(NULL, " \n", &save);
                while ((word = strtok_r(NULL, " \n", &save)))
                        session_bytes(p, word);
        }
        CHECK(fclose(file) == 0);
}

/* The recorded reply or event of this type, NULL if there is none. */
static inline const struct session_packet *session_find(const struct session *session, char direction, uint16_t type) {
        for (unsigned i = 0; i < session->n; i++)
                if (session->packets[i].direction == direction && session->packets[i].header.type == type)
                        return &session->packets[i];
        return NULL;
}
