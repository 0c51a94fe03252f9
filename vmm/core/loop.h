/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An event loop on a thread of its own (epoll). Each device with a host back end owns
 * one: whatever touches the device's state runs on that thread, so devices need no
 * locks. Other threads (vCPUs, control) reach a device through loop_call().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_source;

/* `events` are EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as they arrived. */
typedef void (*loop_fd_fn)(void *arg, uint32_t events);
typedef void (*loop_call_fn)(void *arg);

/* Makes the loop; no thread runs it yet. `name` becomes the thread's name (15 bytes). */
int loop_new(const char *name, struct loop **ret);
/* Stops and joins the thread if it runs; removes the sources. NULL is fine; returns NULL. */
struct loop *loop_free(struct loop *loop);

/*
 * Starts the thread. `prepare` runs first on the new thread (installs its seccomp
 * filter; NULL: nothing); its negative errno ends the thread and is returned here.
 */
int loop_start(struct loop *loop, int (*prepare)(void *arg), void *arg);
/* Runs the loop on the calling thread until loop_stop(). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Adding, changing and removing sources: on the loop's thread, or before it starts. The fd stays the caller's. */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg, struct loop_source **ret);
int loop_set_events(struct loop_source *source, uint32_t events);
struct loop_source *loop_remove(struct loop_source *source); /* NULL is fine; returns NULL */

/*
 * Runs fn(arg) on the loop's thread and waits until it has returned. Called on that
 * thread, or before the thread was started, it just calls fn.
 */
void loop_call(struct loop *loop, loop_call_fn fn, void *arg);
/* Whether a call is waiting for the loop; long work on the loop's thread should then yield. Any thread. */
bool loop_is_called(struct loop *loop);
