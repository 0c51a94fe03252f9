/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What devices report (kind.h). An error is one word, so that whoever takes it never sees half of one.
 */
#include <string.h>

#include "kind.h"

_Static_assert(sizeof(struct device_error) == sizeof(uint64_t), "an error is one word");

static void wake(const struct device_report *report) {
        if (report->wake)
                report->wake(report->arg);
}

static uint64_t to_word(struct device_error error) {
        uint64_t word;

        memcpy(&word, &error, sizeof(word));
        return word;
}

static struct device_error from_word(uint64_t word) {
        struct device_error error;

        memcpy(&error, &word, sizeof(error));
        return error;
}

void report_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy) {
        struct device_report *report = arg;
        struct device_error new = {
                .error = error < 0 ? error : -error,
                .operation = (uint16_t) operation,
                .policy = (uint16_t) policy,
        };
        uint64_t old = report->error;

        do
                if (policy != CTL_ERROR_STOP && from_word(old).policy == CTL_ERROR_STOP)
                        return;
        while (!atomic_compare_exchange_weak(&report->error, &old, to_word(new)));
        wake(report);
}

void report_driver_gone(void *arg) {
        struct device_report *report = arg;
        uint64_t old = report->error;
        struct device_error error;

        do {
                error = from_word(old);
                if (error.policy != CTL_ERROR_STOP)
                        return;
                error.policy = CTL_ERROR_REPORT;
        } while (!atomic_compare_exchange_weak(&report->error, &old, to_word(error)));
}

struct device_error report_take_error(struct device_report *report) {
        return from_word(atomic_exchange(&report->error, 0));
}

void report_port_open(struct device_report *report, bool open) {
        report->open = open;
        wake(report);
}
