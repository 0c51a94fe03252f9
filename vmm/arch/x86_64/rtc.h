/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The CMOS clock.
 */
#pragma once

#include <stdint.h>

#include "../../core/bus.h"

struct rtc;

/* `offset`: seconds that the guest's clock is ahead of UTC. */
int rtc_new(struct bus *pio, int64_t offset, struct rtc **ret);
struct rtc *rtc_free(struct rtc *rtc); /* NULL is fine; returns NULL */
