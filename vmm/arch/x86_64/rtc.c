/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MC146818 clock with CMOS memory, ports 0x70 (index) and 0x71 (data). The guest reads
 * and sets date and time; alarm, periodic and update interrupts do not exist, and ACPI
 * says so by naming no interrupt. Register names are the data sheet's.
 *
 * The time is the host's plus an offset. Setting it changes the offset: the guest
 * holds the clock with SET in register B, writes the digits, and lets go; the digits
 * that were written are taken at that moment. Nothing is kept across the life of the
 * monitor. UIP is never seen set since reads are atomic.
 *
 * Served on vCPU threads under a lock. Like a battery-backed clock, it is not affected by a machine reset.
 */
#include "rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../base/cleanup.h"
#include "layout.h"

#define CMOS_BYTES 128u
#define RTC_PORTS  2u

enum {
        REG_SECONDS = 0,
        REG_MINUTES = 2,
        REG_HOURS = 4,
        REG_WEEKDAY = 6,
        REG_DAY = 7,
        REG_MONTH = 8,
        REG_YEAR = 9,
        REG_A = 10,
        REG_B = 11,
        REG_C = 12,
        REG_D = 13,
        REG_CENTURY = 0x32,
};

#define A_DIVIDER_32K BIT(5)
#define A_RATE_1024   6u
#define B_SET         BIT(7)
#define B_BINARY      BIT(2)
#define B_24H         BIT(1)
#define B_INTERRUPTS  (BIT(6) | BIT(5) | BIT(4))
#define D_VALID       BIT(7)
#define HOUR_PM       BIT(7)

#define DAYS_TO_1970    719468 /* from 0000-03-01 */
#define SECONDS_PER_DAY 86400
#define SECONDS_MAX     253402300799ll /* 9999-12-31 23:59:59, the last that the registers can hold */

struct rtc {
        struct bus *pio;
        pthread_mutex_t lock;
        int64_t offset;
        uint8_t index;
        uint8_t cmos[CMOS_BYTES];
};

static uint8_t encode(const struct rtc *rtc, int value) {
        if (rtc->cmos[REG_B] & B_BINARY)
                return (uint8_t) value;
        return (uint8_t) (value / 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, unsigned reg) {
        uint8_t value = rtc->cmos[reg];

        if (rtc->cmos[REG_B] & B_BINARY)
                return value;
        return (value >> 4) * 10 + (value & 0xf);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour) {
        int twelve = hour % 12 == 0 ? 12 : hour % 12;

        if (rtc->cmos[REG_B] & B_24H)
                return encode(rtc, hour);
        return (uint8_t) (encode(rtc, twelve) | (hour >= 12 ? HOUR_PM : 0));
}

static int decode_hour(struct rtc *rtc) {
        bool pm = rtc->cmos[REG_HOURS] & HOUR_PM;

        if (rtc->cmos[REG_B] & B_24H)
                return decode(rtc, REG_HOURS);
        rtc->cmos[REG_HOURS] &= (uint8_t) ~HOUR_PM;
        return decode(rtc, REG_HOURS) % 12 + (pm ? 12 : 0);
}

/* Days since 1970-01-01 of a day in the Gregorian calendar. Years start in March here, so that leap days end them. */
static int64_t days_from_date(int year, int month, int day) {
        int64_t y = month <= 2 ? year - 1 : year;
        int64_t m = month <= 2 ? month + 9 : month - 3;

        return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - DAYS_TO_1970;
}

/* The C library's gmtime() would look for a time zone file, which a confined thread must not. */
static struct tm date_from_seconds(int64_t seconds) {
        int64_t days = seconds / SECONDS_PER_DAY, rest = seconds % SECONDS_PER_DAY;
        struct tm tm = { .tm_sec = (int) (rest % 60),
                         .tm_min = (int) (rest / 60 % 60),
                         .tm_hour = (int) (rest / 3600),
                         .tm_wday = (int) ((days + 4) % 7) };
        int year = 1970 + (int) (days / 366), month = 12;

        while (days_from_date(year + 1, 1, 1) <= days)
                year++;
        while (days_from_date(year, month, 1) > days)
                month--;
        tm.tm_year = year - 1900;
        tm.tm_mon = month - 1;
        tm.tm_mday = (int) (days - days_from_date(year, month, 1)) + 1;
        return tm;
}

/* Not time(): where the vDSO has none it is a system call that no thread may make. */
static int64_t host_seconds(void) {
        struct timespec now = { 0 };

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec;
}

/* Copies the current time into the registers, unless the guest holds them. */
static void latch(struct rtc *rtc) {
        int64_t now = host_seconds() + rtc->offset;
        struct tm tm = date_from_seconds(MIN(MAX(now, 0), SECONDS_MAX));

        if (rtc->cmos[REG_B] & B_SET)
                return;
        rtc->cmos[REG_SECONDS] = encode(rtc, tm.tm_sec);
        rtc->cmos[REG_MINUTES] = encode(rtc, tm.tm_min);
        rtc->cmos[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
        rtc->cmos[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
        rtc->cmos[REG_DAY] = encode(rtc, tm.tm_mday);
        rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
        rtc->cmos[REG_YEAR] = encode(rtc, tm.tm_year % 100);
        rtc->cmos[REG_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100);
}

static void take_time(struct rtc *rtc) {
        int year = decode(rtc, REG_CENTURY) * 100 + decode(rtc, REG_YEAR);
        int64_t days = days_from_date(year, decode(rtc, REG_MONTH), decode(rtc, REG_DAY));
        int64_t seconds = decode(rtc, REG_SECONDS) + 60 * decode(rtc, REG_MINUTES) + 3600 * decode_hour(rtc);

        rtc->offset = days * SECONDS_PER_DAY + seconds - host_seconds();
}

static uint8_t read_register(struct rtc *rtc) {
        switch (rtc->index) {
        case REG_C:
                return 0;
        case REG_D:
                return D_VALID;
        default:
                latch(rtc);
                return rtc->cmos[rtc->index];
        }
}

static void write_register(struct rtc *rtc, uint8_t value) {
        bool was_set = rtc->cmos[REG_B] & B_SET;

        switch (rtc->index) {
        case REG_A:
                rtc->cmos[REG_A] = value & 0x7f;
                break;
        case REG_B:
                if (!was_set && (value & B_SET))
                        latch(rtc);
                if (was_set && !(value & B_SET))
                        take_time(rtc);
                rtc->cmos[REG_B] = value & (uint8_t) ~B_INTERRUPTS;
                break;
        case REG_C:
        case REG_D:
                break;
        default:
                rtc->cmos[rtc->index] = value;
        }
}

static void rtc_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct rtc *rtc = arg;

        /* The index port cannot be read back: it gives the ones that are there already. */
        if (offset == 0 || len != 1)
                return;
        (void) pthread_mutex_lock(&rtc->lock);
        *(uint8_t *) data = read_register(rtc);
        (void) pthread_mutex_unlock(&rtc->lock);
}

static void rtc_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct rtc *rtc = arg;
        uint8_t value = *(const uint8_t *) data;

        (void) pthread_mutex_lock(&rtc->lock);
        if (offset == 0)
                rtc->index = value % CMOS_BYTES;
        else
                write_register(rtc, value);
        (void) pthread_mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_ops = { .read = rtc_read, .write = rtc_write };

int rtc_new(struct bus *pio, int64_t offset, struct rtc **ret) {
        AUTOFREE struct rtc *rtc = NULL;
        int r;

        rtc = calloc(1, sizeof(*rtc));
        if (!rtc)
                return -ENOMEM;
        (void) pthread_mutex_init(&rtc->lock, NULL);
        rtc->pio = pio;
        rtc->offset = offset;
        rtc->cmos[REG_A] = A_DIVIDER_32K | A_RATE_1024;
        rtc->cmos[REG_B] = B_24H;
        r = bus_add(pio, LAYOUT_PORT_RTC, RTC_PORTS, &rtc_ops, rtc);
        if (r < 0)
                return r;
        *ret = TAKE(rtc);
        return 0;
}

struct rtc *rtc_free(struct rtc *rtc) {
        if (!rtc)
                return NULL;
        bus_remove(rtc->pio, rtc);
        (void) pthread_mutex_destroy(&rtc->lock);
        free(rtc);
        return NULL;
}
