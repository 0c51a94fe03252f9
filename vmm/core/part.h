/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A part: what has state in a machine, as the machine as a whole sees it. Each registers itself where it is made; who
 * resets the machine, or has it stand still, walks the list and knows none of them by name.
 *
 * All runs on the control thread while no vCPU runs, unless noted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct part;

/* Walks go from the first to the last: what drives interrupts before what takes them, all before what starts anew. */
enum part_stage {
        PART_DEVICE,
        PART_IRQCHIP,
        PART_CPU,
        PART_IMAGE, /* what memory holds at power on, and where the boot processor enters it */
};

struct part_ops {
        /* Optional: what a reset has to wait for begins; is_busy() tells its end. */
        void (*reset_begin)(struct part *part);
        /* As after power on. On error *ret_text is a static sentence for the operator. */
        int (*reset)(struct part *part, const char **ret_text);
        /* Optional: changes neither guest memory nor its host end any more, once is_busy() is false. */
        void (*quiesce)(struct part *part);
        void (*resume)(struct part *part); /* goes on, from quiesce or on the way there */
        /* Optional: a reset or quiesce is under way. part_settled() follows. */
        bool (*is_busy)(const struct part *part);
};

struct parts {
        struct part *first;
        void (*settled)(void *arg); /* a part is not busy any more; any thread; NULL: nobody wants to know */
        void *arg;
};

/* Embedded in what has the state. */
struct part {
        const struct part_ops *ops;
        struct parts *parts; /* NULL: not registered */
        struct part *next;
        enum part_stage stage;
};

/* Registers `part`, behind those of its stage and of those before, whatever the order of calls. */
void part_add(struct parts *parts, struct part *part, enum part_stage stage, const struct part_ops *ops);
void part_remove(struct part *part); /* one that is not registered is fine */
void part_settled(const struct part *part);

void parts_reset_begin(struct parts *parts);
/* After reset_begin, once nothing is busy. The first error ends it: the machine is to be given up or reset again. */
int parts_reset(struct parts *parts, const char **ret_text);
void parts_quiesce(struct parts *parts);
void parts_resume(struct parts *parts);
bool parts_are_busy(const struct parts *parts);
