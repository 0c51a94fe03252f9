/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What devices report (kind.h). The reader takes `error` last, so it is written last.
 */
#include "kind.h"

static void wake(const struct device_report *report) {
        if (report->wake)
                report->wake(report->arg);
}

void report_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy) {
        struct device_report *report = arg;

        if (policy == CTL_ERROR_STOP)
                report->stop = true;
        else if (report->stop)
                return;
        report->operation = operation;
        report->policy = policy;
        report->error = error < 0 ? error : -error;
        wake(report);
}

void report_port_open(struct device_report *report, bool open) {
        report->open = open;
        wake(report);
}
