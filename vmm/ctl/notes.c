/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device threads leave their reports with the device (dev/kind.h) and wake the control thread, which collects them
 * NOTES_DELAY_MS after the first. So a guest that flaps a port causes twenty events a second at most.
 */
#include "notes.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "../base/cleanup.h"
#include "message.h"

#define NOTES_DELAY_MS 50

void notes_wake(void *arg) {
        const struct notes *notes = arg;
        const uint64_t one = 1;

        (void) !write(notes->event_fd, &one, sizeof(one));
}

void notes_tell_ports(struct notes *notes) {
        for (struct device *d = notes->devices->first; d; d = d->next)
                d->open_wanted = d->kind->add == CTL_ADD_PORT;
        notes_wake(notes);
}

static void on_wake(void *arg, uint32_t events) {
        struct notes *notes = arg;
        struct itimerspec when = { .it_value = { .tv_nsec = NOTES_DELAY_MS * 1000000l } };
        uint64_t count;

        (void) !read(notes->event_fd, &count, sizeof(count));
        (void) timerfd_settime(notes->timer_fd, 0, &when, NULL);
        /* Until the timer has fired further wake-ups have nothing to add. */
        (void) loop_set_events(notes->event_source, 0);
}

/* True: the guest has to be paused. */
static bool tell_error(const struct notes *notes, struct device *d) {
        struct device_error error = report_take_error(&d->report);
        struct ctl_event_io_error event = {
                .id = d->place.id,
                .error = error.error,
                .write = error.operation,
                .policy = error.policy,
        };

        if (error.error == 0)
                return false;
        ctl_header_init(&event.header, CTL_EVENT_IO_ERROR, 0, sizeof(event));
        notes->send(notes->arg, &event.header);
        return error.policy == CTL_ERROR_STOP;
}

static void tell_open(const struct notes *notes, struct device *d) {
        bool open = d->report.open;
        struct ctl_event_port event = { .id = d->place.id, .open = open };

        if (open == d->open_told && !d->open_wanted)
                return;
        d->open_told = open;
        d->open_wanted = false;
        ctl_header_init(&event.header, CTL_EVENT_PORT, 0, sizeof(event));
        notes->send(notes->arg, &event.header);
}

/* No guest is paused for a device that has gone. */
void notes_tell_last(struct notes *notes, struct device *d) {
        (void) tell_error(notes, d);
        tell_open(notes, d);
}

static void on_timer(void *arg, uint32_t events) {
        struct notes *notes = arg;
        bool stop = false;
        uint64_t count;

        (void) !read(notes->timer_fd, &count, sizeof(count));
        (void) loop_set_events(notes->event_source, EPOLLIN);
        for (struct device *d = notes->devices->first; d; d = d->next)
                stop = tell_error(notes, d) || stop;
        for (struct device *d = notes->devices->first; d; d = d->next)
                tell_open(notes, d);
        /* Last: it may advance the machine, and devices that leave it leave the list. */
        if (stop)
                notes->stop(notes->arg);
}

int notes_init(struct notes *notes, struct loop *loop, const struct devices *devices, notes_send_fn send,
               notes_stop_fn stop, void *arg) {
        int r;

        *notes = (struct notes) { .devices = devices, .send = send, .stop = stop, .arg = arg };
        notes->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        notes->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (notes->event_fd < 0 || notes->timer_fd < 0)
                return -errno;
        r = loop_add_fd(loop, notes->event_fd, EPOLLIN, on_wake, notes, &notes->event_source);
        return r < 0 ? r : loop_add_fd(loop, notes->timer_fd, EPOLLIN, on_timer, notes, &notes->timer_source);
}

void notes_done(struct notes *notes) {
        close_fd(&notes->event_fd);
        close_fd(&notes->timer_fd);
}
