/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPU threads. Each runs KVM_RUN in a loop and serves the exits: accesses to registers go to the buses, exits that
 * only an architecture has to it, and those after which the vCPU cannot continue to config.failed.
 *
 * The gate. `closed` is a set of reasons to stop, which a vCPU checks before each KVM_RUN. To close it, set the
 * bit, then each vCPU's immediate_exit, then send SIGRTMIN. A vCPU clears immediate_exit, then checks `closed`.
 * So, whatever the interleaving, it sees the bit, or enters KVM_RUN with immediate_exit set, or is in KVM_RUN
 * and gets the signal: no kick is lost or needs repeating. The signal handler does nothing.
 *
 * Pausing does not wait: a vCPU that has turned off a device's bus mastering reaches the gate only when that
 * device's I/O is done. The last vCPU to arrive reports it (`parked`).
 *
 * Before it parks, a vCPU lets KVM complete the I/O instruction whose exit was served
 * last (KVM does that on re-entry): with immediate_exit set KVM_RUN does this and
 * nothing else. Otherwise a register restored by a reset would be overwritten later.
 *
 * Threads need: ioctl(KVM_RUN), futex, gettid, what the registers' handlers do.
 */
#include "vcpus.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"
#include "../base/log.h"
#include "../base/seccomp.h"
#include "../base/thread.h"

enum gate {
        GATE_PAUSED = 1u << 0,
        GATE_HELD = 1u << 1,
        GATE_QUIT = 1u << 2,
};

struct vcpu {
        struct vcpus *vcpus;
        unsigned index;
        int fd;
        struct kvm_run *run;
        struct vcpu_state *initial; /* after power on */
        pthread_t thread;
        bool has_thread;
        bool prepared; /* under the lock */
        int prepare_result;
        pid_t tid;
        struct log_guest failures; /* a guest that is restarted can fail again at once; its thread only */
};

struct vcpus {
        struct part part;
        struct vcpus_config config;
        size_t run_size;
        unsigned n;
        struct vcpu *vcpu;

        atomic_uint closed; /* enum gate; changed under the lock */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned n_threads, parked;
};

static void kick_handler(int sig) {
        (void) sig;
}

static int vcpu_create(struct vcpus *vcpus, struct vcpu *v, struct arch_cpu *cpu) {
        const struct vcpus_config *c = &vcpus->config;

        v->fd = ioctl(c->vm_fd, KVM_CREATE_VCPU, (unsigned long) arch_vcpu_id(&c->topology, v->index));
        if (v->fd < 0)
                return -errno;
        v->run = mmap(NULL, vcpus->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
        if (v->run == MAP_FAILED) {
                v->run = NULL;
                return -errno;
        }
        return arch_vcpu_init(cpu, c->features, c->kvm_fd, v->fd, v->index, &v->initial);
}

static void free_cpu(struct arch_cpu **cpu) {
        arch_cpu_free(*cpu);
}

static int create_all(struct vcpus *vcpus) {
        CLEANUP(free_cpu) struct arch_cpu *cpu = NULL;
        int r;

        r = ioctl(vcpus->config.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (r < 0)
                return -errno;
        vcpus->run_size = (size_t) r;
        r = arch_cpu_new(vcpus->config.kvm_fd, vcpus->config.version, &vcpus->config.topology, &cpu);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < vcpus->n; i++) {
                r = vcpu_create(vcpus, &vcpus->vcpu[i], cpu);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int vcpus_reset(struct part *part, const char **ret_text) {
        struct vcpus *vcpus = CONTAINER_OF(part, struct vcpus, part);
        int r;

        *ret_text = "KVM does not take the vCPUs' registers";
        for (unsigned i = 0; i < vcpus->n; i++) {
                r = arch_vcpu_restore(vcpus->vcpu[i].fd, vcpus->vcpu[i].initial);
                if (r < 0)
                        return r;
        }
        return 0;
}

static const struct part_ops part_ops = { .reset = vcpus_reset };

static void free_p(struct vcpus **vcpus) {
        vcpus_free(*vcpus);
}

int vcpus_new(const struct vcpus_config *config, struct vcpus **ret) {
        CLEANUP(free_p) struct vcpus *vcpus = NULL;
        unsigned n = config->topology.vcpus;
        int r;

        vcpus = calloc(1, sizeof(*vcpus));
        if (!vcpus)
                return -ENOMEM;
        vcpus->config = *config;
        atomic_init(&vcpus->closed, GATE_PAUSED);
        (void) pthread_mutex_init(&vcpus->lock, NULL);
        (void) pthread_cond_init(&vcpus->changed, NULL);
        vcpus->vcpu = calloc(n, sizeof(*vcpus->vcpu));
        if (!vcpus->vcpu)
                return -ENOMEM;
        vcpus->n = n;
        for (unsigned i = 0; i < n; i++)
                vcpus->vcpu[i] = (struct vcpu) { .vcpus = vcpus, .index = i, .fd = -EBADF };
        r = create_all(vcpus);
        if (r < 0)
                return r;
        part_add(config->parts, &vcpus->part, PART_CPU, &part_ops);
        *ret = TAKE(vcpus);
        return 0;
}

static void close_gate(struct vcpus *vcpus, unsigned reason) {
        (void) pthread_mutex_lock(&vcpus->lock);
        atomic_fetch_or(&vcpus->closed, reason);
        (void) pthread_cond_broadcast(&vcpus->changed);
        (void) pthread_mutex_unlock(&vcpus->lock);
}

static void open_gate(struct vcpus *vcpus, unsigned reason) {
        (void) pthread_mutex_lock(&vcpus->lock);
        atomic_fetch_and(&vcpus->closed, ~reason);
        (void) pthread_cond_broadcast(&vcpus->changed);
        (void) pthread_mutex_unlock(&vcpus->lock);
}

static void kick(struct vcpu *v) {
        if (!v->has_thread)
                return;
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        (void) pthread_kill(v->thread, SIGRTMIN);
}

struct vcpus *vcpus_free(struct vcpus *vcpus) {
        if (!vcpus)
                return NULL;
        part_remove(&vcpus->part);
        close_gate(vcpus, GATE_QUIT);
        for (unsigned i = 0; i < vcpus->n; i++) {
                struct vcpu *v = &vcpus->vcpu[i];

                kick(v);
                if (v->has_thread)
                        (void) pthread_join(v->thread, NULL);
                if (v->run)
                        (void) munmap(v->run, vcpus->run_size);
                close_fd(&v->fd);
                arch_vcpu_state_free(v->initial);
        }
        (void) pthread_cond_destroy(&vcpus->changed);
        (void) pthread_mutex_destroy(&vcpus->lock);
        free(vcpus->vcpu);
        free(vcpus);
        return NULL;
}

static void serve_mmio(struct vcpu *v) {
        struct kvm_run *run = v->run;
        unsigned len = MIN(run->mmio.len, (uint32_t) sizeof(run->mmio.data));

        if (run->mmio.is_write)
                bus_write(v->vcpus->config.mmio, run->mmio.phys_addr, run->mmio.data, len);
        else
                bus_read(v->vcpus->config.mmio, run->mmio.phys_addr, run->mmio.data, len);
}

static void describe_failure(const struct vcpu *v) {
        const struct kvm_run *run = v->run;

        switch (run->exit_reason) {
        case KVM_EXIT_FAIL_ENTRY:
                log_errorx("vCPU %u: the processor refused to enter the guest, reason %#llx", v->index,
                           (unsigned long long) run->fail_entry.hardware_entry_failure_reason);
                break;
        case KVM_EXIT_INTERNAL_ERROR:
                log_errorx("vCPU %u: KVM gave up, internal error %u (instruction emulation is 1)", v->index,
                           run->internal.suberror);
                break;
        default:
                log_errorx("vCPU %u: unexpected exit %u from KVM", v->index, run->exit_reason);
        }
}

/* An exit that other architectures do not have. */
static void serve_arch_exit(struct vcpu *v) {
        switch (arch_vcpu_exit(v->run, v->vcpus->config.pio)) {
        case ARCH_EXIT_SERVED:
                break;
        case ARCH_EXIT_RESET:
                if (log_guest_may(&v->failures))
                        log_warningx("vCPU %u: triple fault: resetting the machine, as on a PC", v->index);
                vcpus_hold(v->vcpus);
                v->vcpus->config.shut_down(v->vcpus->config.arg, v->index);
                break;
        case ARCH_EXIT_UNKNOWN:
                if (log_guest_may(&v->failures))
                        describe_failure(v);
                vcpus_hold(v->vcpus);
                v->vcpus->config.failed(v->vcpus->config.arg, v->index);
        }
}

static void serve_exit(struct vcpu *v) {
        switch (v->run->exit_reason) {
        case KVM_EXIT_MMIO:
                serve_mmio(v);
                break;
        case KVM_EXIT_INTR:
                break;
        default:
                serve_arch_exit(v);
        }
}

/* Runs the guest until its next exit. */
static void run_once(struct vcpu *v) {
        if (ioctl(v->fd, KVM_RUN, 0) == 0) {
                serve_exit(v);
                return;
        }
        if (errno == EINTR || errno == EAGAIN)
                return;
        log_error(errno, "vCPU %u: cannot run", v->index);
        vcpus_hold(v->vcpus);
        v->vcpus->config.failed(v->vcpus->config.arg, v->index);
}

/* Completes the I/O instruction in progress without running the guest any further. */
static void settle(struct vcpu *v) {
        for (;;) {
                __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
                if (ioctl(v->fd, KVM_RUN, 0) < 0)
                        return;
                /* One instruction can need several exits. */
                if (!arch_vcpu_exit_is_access(v->run))
                        return;
                serve_exit(v);
        }
}

/* With the lock. */
static bool all_parked(const struct vcpus *vcpus) {
        return vcpus->parked == vcpus->n_threads;
}

/* Waits at the gate until it opens; false: the thread must end. */
static bool park(struct vcpu *v) {
        struct vcpus *vcpus = v->vcpus;
        unsigned closed;

        (void) pthread_mutex_lock(&vcpus->lock);
        vcpus->parked++;
        if (all_parked(vcpus) && (atomic_load(&vcpus->closed) & GATE_PAUSED))
                vcpus->config.parked(vcpus->config.arg);
        while ((closed = atomic_load(&vcpus->closed)) != 0 && !(closed & GATE_QUIT))
                (void) pthread_cond_wait(&vcpus->changed, &vcpus->lock);
        vcpus->parked--;
        (void) pthread_mutex_unlock(&vcpus->lock);
        return !(closed & GATE_QUIT);
}

static int prepare(struct vcpu *v) {
        struct thread_role role = { .kind = THREAD_VCPU };
        struct vcpus *vcpus = v->vcpus;
        char name[16];
        int r = 0;

        (void) snprintf(name, sizeof(name), "vcpu%u", v->index);
        (void) prctl(PR_SET_NAME, name);
        v->tid = gettid();
        if (vcpus->config.enter_thread)
                r = vcpus->config.enter_thread(&role);
        (void) pthread_mutex_lock(&vcpus->lock);
        v->prepared = true;
        v->prepare_result = r;
        (void) pthread_cond_broadcast(&vcpus->changed);
        (void) pthread_mutex_unlock(&vcpus->lock);
        return r;
}

static void *vcpu_thread(void *arg) {
        struct vcpu *v = arg;

        if (prepare(v) < 0)
                return NULL;
        for (;;) {
                __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
                if (atomic_load(&v->vcpus->closed) == 0) {
                        run_once(v);
                        continue;
                }
                settle(v);
                if (!park(v))
                        return NULL;
        }
}

/* New threads inherit a mask in which only the kick is open. */
static int start_thread(struct vcpu *v) {
        sigset_t all, old;
        int r;

        (void) sigfillset(&all);
        (void) sigdelset(&all, SIGRTMIN);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = thread_new(&v->thread, vcpu_thread, v);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r < 0)
                return r;
        v->has_thread = true;

        (void) pthread_mutex_lock(&v->vcpus->lock);
        v->vcpus->n_threads++;
        while (!v->prepared)
                (void) pthread_cond_wait(&v->vcpus->changed, &v->vcpus->lock);
        r = v->prepare_result;
        (void) pthread_mutex_unlock(&v->vcpus->lock);
        return r;
}

int vcpus_start(struct vcpus *vcpus) {
        struct sigaction action = { .sa_handler = kick_handler };
        int r;

        if (sigaction(SIGRTMIN, &action, NULL) < 0)
                return -errno;
        for (unsigned i = 0; i < vcpus->n; i++) {
                r = start_thread(&vcpus->vcpu[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static unsigned count_threads(const struct vcpus *vcpus) {
        unsigned n = 0;

        for (unsigned i = 0; i < vcpus->n; i++)
                n += vcpus->vcpu[i].has_thread;
        return n;
}

bool vcpus_are_parked(struct vcpus *vcpus) {
        bool parked;

        (void) pthread_mutex_lock(&vcpus->lock);
        parked = all_parked(vcpus);
        (void) pthread_mutex_unlock(&vcpus->lock);
        return parked;
}

bool vcpus_pause(struct vcpus *vcpus) {
        close_gate(vcpus, GATE_PAUSED);
        for (unsigned i = 0; i < vcpus->n; i++)
                kick(&vcpus->vcpu[i]);
        return vcpus_are_parked(vcpus);
}

void vcpus_resume(struct vcpus *vcpus) {
        for (unsigned i = 0; i < vcpus->n; i++)
                arch_vcpu_resumed(vcpus->vcpu[i].fd);
        open_gate(vcpus, GATE_PAUSED);
}

void vcpus_hold(struct vcpus *vcpus) {
        close_gate(vcpus, GATE_HELD);
}

void vcpus_release(struct vcpus *vcpus) {
        open_gate(vcpus, GATE_HELD);
}

int vcpus_set_entry(struct vcpus *vcpus, const struct boot_entry *entry) {
        return arch_vcpu_enter(vcpus->vcpu[0].fd, entry);
}

int vcpus_nmi(struct vcpus *vcpus) {
        int r = 0;

        for (unsigned i = 0; i < vcpus->n && r == 0; i++)
                r = arch_vcpu_nmi(vcpus->vcpu[i].fd);
        return r;
}

unsigned vcpus_tids(const struct vcpus *vcpus, pid_t *tids, unsigned max) {
        unsigned n = MIN(count_threads(vcpus), max);

        for (unsigned i = 0; i < n; i++)
                tids[i] = vcpus->vcpu[i].tid;
        return n;
}
