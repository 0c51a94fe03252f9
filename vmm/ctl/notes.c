/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device thread leaves a note, which is state and not a queue: the last error of a disk, whether a port is
 * open now. It never waits for the control thread, and nothing a guest does can make it grow. The control
 * thread collects the notes NOTES_DELAY_MS after the first, so a guest that flaps a port causes twenty events a
 * second at most.
 */
#include "notes.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "../base/cleanup.h"
#include "message.h"

#define NOTES_DELAY_MS 50

static void notes_wake(struct notes *notes) {
        const uint64_t one = 1;
        (void) !write(notes->event_fd, &one, sizeof(one));
}

void notes_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy) {
        struct disk_note *note = arg;

        if (policy == CTL_ERROR_STOP)
                note->stop = true;
        else if (note->stop)
                return;
        note->operation = operation;
        note->policy = policy;
        note->error = error < 0 ? error : -error;
        notes_wake(note->notes);
}

void notes_port_open(void *arg, unsigned port, bool open) {
        struct notes *notes = arg;

        notes->port_open[port] = open;
        notes_wake(notes);
}

void notes_tell_ports(struct notes *notes, unsigned n_ports) {
        for (unsigned i = 0; i < n_ports; i++)
                notes->port_wanted[i] = true;
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

static void tell_disk(struct notes *notes, unsigned index) {
        int error = atomic_exchange(&notes->disk[index].error, 0);
        struct ctl_event_io_error event = { .disk = index,
                                            .error = error,
                                            .write = notes->disk[index].operation,
                                            .policy = notes->disk[index].policy };

        if (error == 0)
                return;
        ctl_header_init(&event.header, CTL_EVENT_IO_ERROR, 0, sizeof(event));
        notes->send(notes->arg, &event.header);
        if (atomic_exchange(&notes->disk[index].stop, false))
                notes->stop(notes->arg);
}

static void tell_port(struct notes *notes, unsigned index) {
        bool open = notes->port_open[index];
        struct ctl_event_port event = { .port = index, .open = open };

        if (open == notes->port_told[index] && !notes->port_wanted[index])
                return;
        notes->port_told[index] = open;
        notes->port_wanted[index] = false;
        ctl_header_init(&event.header, CTL_EVENT_PORT, 0, sizeof(event));
        notes->send(notes->arg, &event.header);
}

static void on_timer(void *arg, uint32_t events) {
        struct notes *notes = arg;
        uint64_t count;

        (void) !read(notes->timer_fd, &count, sizeof(count));
        (void) loop_set_events(notes->event_source, EPOLLIN);
        for (unsigned i = 0; i < CTL_DISKS_MAX; i++)
                tell_disk(notes, i);
        for (unsigned i = 0; i < CTL_PORTS_MAX; i++)
                tell_port(notes, i);
}

int notes_init(struct notes *notes, struct loop *loop, notes_send_fn send, notes_stop_fn stop, void *arg) {
        int r;

        *notes = (struct notes) { .send = send, .stop = stop, .arg = arg };
        for (unsigned i = 0; i < CTL_DISKS_MAX; i++)
                notes->disk[i].notes = notes;
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
