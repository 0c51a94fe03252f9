/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vCPUs of a machine: one thread each, and a gate that holds them all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bus.h"
#include "cpu_features.h"
#include "part.h"
#include "topology.h"
#include "version.h"

struct vcpus;

struct vcpus_config {
        struct parts *parts; /* of the machine; a reset is everything as after vcpus_new() */
        int kvm_fd, vm_fd;   /* the caller's; outlive the vCPUs */
        const struct machine_version *version;
        struct topology topology;
        const struct cpu_features *features; /* the caller's; only for vcpus_new(). NULL: none */
        const struct bus *pio, *mmio;
        int (*enter_thread)(void *role); /* optional: first thing on each vCPU thread */
        /* A vCPU cannot go on (KVM error). On its thread; it waits at the gate afterwards. */
        void (*failed)(void *arg, unsigned index);
        /* The guest shut its processor down (a triple fault), which resets a PC. Called the same way. */
        void (*shut_down)(void *arg, unsigned index);
        /* The last vCPU has reached the gate. On its thread. */
        void (*parked)(void *arg);
        void *arg;
};

/* Creates the vCPUs in the state after reset, without threads. */
int vcpus_new(const struct vcpus_config *config, struct vcpus **ret);
struct vcpus *vcpus_free(struct vcpus *vcpus); /* ends the threads; NULL is fine; returns NULL */

/* Starts the threads; they wait at the gate. An enter_thread's error is returned. */
int vcpus_start(struct vcpus *vcpus);

/*
 * Closes the gate and kicks all vCPUs; does not wait, since a vCPU may be waiting for a device. True: all are
 * already at the gate, with no I/O half done. False: `parked` is called when they are.
 */
bool vcpus_pause(struct vcpus *vcpus);
bool vcpus_are_parked(struct vcpus *vcpus);
/* Opens the gate, unless vcpus_hold() closed it. */
void vcpus_resume(struct vcpus *vcpus);
/*
 * Closes the gate at once without waiting: the calling vCPU thread will not run another
 * instruction, the others follow at the next vcpus_pause(). vcpus_release() undoes it.
 */
void vcpus_hold(struct vcpus *vcpus);
void vcpus_release(struct vcpus *vcpus);

/* While paused, after a reset: where the boot processor starts. */
int vcpus_set_entry(struct vcpus *vcpus, const struct boot_entry *entry);

/* While paused: KVM injects nothing into a running vCPU. */
int vcpus_nmi(struct vcpus *vcpus);
unsigned vcpus_tids(const struct vcpus *vcpus, pid_t *tids, unsigned max);
