/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of parts, sorted by stage, and the walks over it. There are some forty parts at most, so that a list without
 * an index will do.
 */
#include "part.h"

void part_add(struct parts *parts, struct part *part, enum part_stage stage, const struct part_ops *ops) {
        struct part **at = &parts->first;

        while (*at && (*at)->stage <= stage)
                at = &(*at)->next;
        *part = (struct part) { .ops = ops, .parts = parts, .next = *at, .stage = stage };
        *at = part;
}

void part_remove(struct part *part) {
        struct part **at;

        if (!part->parts)
                return;
        for (at = &part->parts->first; *at != part; at = &(*at)->next)
                ;
        *at = part->next;
        part->parts = NULL;
}

void part_settled(const struct part *part) {
        if (part->parts && part->parts->settled)
                part->parts->settled(part->parts->arg);
}

void parts_reset_begin(struct parts *parts) {
        for (struct part *part = parts->first; part; part = part->next)
                if (part->ops->reset_begin)
                        part->ops->reset_begin(part);
}

int parts_reset(struct parts *parts, const char **ret_text) {
        for (struct part *part = parts->first; part; part = part->next) {
                int r = part->ops->reset(part, ret_text);

                if (r < 0)
                        return r;
        }
        return 0;
}

void parts_quiesce(struct parts *parts) {
        for (struct part *part = parts->first; part; part = part->next)
                if (part->ops->quiesce)
                        part->ops->quiesce(part);
}

void parts_resume(struct parts *parts) {
        for (struct part *part = parts->first; part; part = part->next)
                if (part->ops->resume)
                        part->ops->resume(part);
}

bool parts_are_busy(const struct parts *parts) {
        for (const struct part *part = parts->first; part; part = part->next)
                if (part->ops->is_busy && part->ops->is_busy(part))
                        return true;
        return false;
}
