/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's life on the real KVM, with a kernel that does nothing but write the reset register.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "../count.h"
#include "../test.h"
#include "base/cleanup.h"
#include "board/vm.h"
#include "core/loop.h"
#include "core/virtio.h"
#include "dev/blk.h"

#define ENTRY (16u << 20)

/* mov dx, 0x602; mov al, 1; out dx, al; again: hlt; jmp again */
static struct kernel {
        Elf64_Ehdr header;
        Elf64_Phdr load, notes;
        Elf64_Nhdr note;
        char note_name[4];
        uint32_t note_entry;
        uint8_t code[64];
} kernel = {
        .header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
                    .e_machine = EM_X86_64,
                    .e_phoff = offsetof(struct kernel, load),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 2 },
        .load = { .p_type = PT_LOAD,
                  .p_offset = offsetof(struct kernel, code),
                  .p_paddr = ENTRY,
                  .p_filesz = 64,
                  .p_memsz = 4096 },
        .notes = { .p_type = PT_NOTE, .p_offset = offsetof(struct kernel, note), .p_filesz = 20 },
        .note = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 }, /* XEN_ELFNOTE_PHYS32_ENTRY */
        .note_name = "Xen",
        .note_entry = ENTRY,
        .code = { 0x66, 0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd },
};

struct fixture {
        struct loop *control;
        struct vm *vm;
        atomic_uint resets, state, reason, pauses; /* pauses that were requested and have taken effect */
        atomic_uint removed, removed_slot;
        bool paused;
        struct virtio_device *devices[4]; /* that it starts with */
};

static void on_reset(void *arg) {
        ((struct fixture *) arg)->resets++;
}

static void on_state(void *arg, enum ctl_state state, enum ctl_reason reason) {
        struct fixture *f = arg;

        f->reason = reason;
        f->state = state;
}

static void on_finished(void *arg, enum vm_operation operation, int result) {
        if (operation == VM_PAUSE && result == 0)
                ((struct fixture *) arg)->pauses++;
}

static void on_removed(void *arg, unsigned slot) {
        struct fixture *f = arg;

        f->removed_slot = slot;
        f->removed++;
}

static void make_config(struct vm_config *config) {
        if (access("/dev/kvm", R_OK | W_OK) < 0)
                TEST_SKIP("there is no /dev/kvm");
        vm_config_init(config);
        config->memory = 64 << 20;
        config->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        config->kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
        CHECK(config->kvm_fd >= 0 && write(config->kernel_fd, &kernel, sizeof(kernel)) == sizeof(kernel));
}

static void do_start(void *arg) {
        struct fixture *f = arg;
        struct vm_callbacks callbacks = {
                .was_reset = on_reset,
                .state_changed = on_state,
                .finished = on_finished,
                .removed = on_removed,
                .arg = f,
        };
        struct vm_config config;
        const char *text = "";

        make_config(&config);
        CHECK_EQ(vm_new(&config, &callbacks, f->control, &f->vm, &text), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(f->devices) && f->devices[i]; i++)
                CHECK(vm_add_virtio(f->vm, f->devices[i], 0) >= 0);
        CHECK_EQ(vm_start(f->vm, f->paused, &text), 0);
}

static void fixture_start(struct fixture *f) {
        CHECK_EQ(loop_new("control", &f->control), 0);
        CHECK_EQ(loop_start(f->control, NULL, NULL), 0);
        loop_call(f->control, do_start, f);
}

static void fixture_init(struct fixture *f) {
        memset(f, 0, sizeof(*f));
        fixture_start(f);
}

static void do_free(void *arg) {
        struct fixture *f = arg;

        f->vm = vm_free(f->vm);
}

static void fixture_done(struct fixture *f) {
        loop_call(f->control, do_free, f);
        loop_free(f->control);
}

static void wait_for(atomic_uint *what, unsigned at_least) {
        for (unsigned i = 0; i < 10000 && *what < at_least; i++)
                (void) usleep(1000);
        CHECK(*what >= at_least);
}

static unsigned now_ms(void) {
        struct timespec ts;

        CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
        return (unsigned) (ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

/* A guest that resets itself at once can do so a few times, then ten times a second. */
static void test_restarts_are_paced(void) {
        struct fixture f;
        unsigned before, start, n;

        fixture_init(&f);
        wait_for(&f.resets, 4);
        start = now_ms();
        before = f.resets;
        wait_for(&f.resets, before + 5);
        (void) usleep(500000);
        n = f.resets - before;
        CHECK(n <= (now_ms() - start) / 100 + 1);
        fixture_done(&f);
}

static void do_destroy(void *arg) {
        vm_set_actions(((struct fixture *) arg)->vm, CTL_ACTION_DESTROY, CTL_ACTION_DESTROY, CTL_ACTION_DESTROY);
}

/* A caller that wants the guest to stop need not wait until it has restarted. */
static void test_actions_while_it_waits(void) {
        struct fixture f;

        fixture_init(&f);
        wait_for(&f.resets, 4);
        loop_call(f.control, do_destroy, &f);
        wait_for(&f.state, CTL_STATE_SHUTDOWN);
        CHECK_EQ(f.reason, CTL_REASON_GUEST);
        fixture_done(&f);
}

static void do_pause(void *arg) {
        struct fixture *f = arg;

        f->pauses += vm_pause(f->vm) == 0;
}

static void pause_and_wait(struct fixture *f) {
        unsigned before = f->pauses;

        loop_call(f->control, do_pause, f);
        wait_for(&f->pauses, before + 1);
        CHECK_EQ(f->state, CTL_STATE_PAUSED);
}

static void do_resume(void *arg) {
        CHECK_EQ(vm_resume(((struct fixture *) arg)->vm), 0);
}

static void do_press(void *arg) {
        CHECK_EQ(vm_power_button(((struct fixture *) arg)->vm), 0);
}

static void do_resets(void *arg) {
        struct fixture *f = arg;

        for (unsigned i = 1; i <= 20; i++) {
                CHECK_EQ(vm_reset(f->vm), 0);
                CHECK_EQ(f->resets, i);
        }
}

/* A guest that waits can be paused and resumed, and does not run meanwhile. Resets on request do not wait. */
static void test_requests_while_it_waits(void) {
        struct fixture f;
        unsigned before;

        fixture_init(&f);
        wait_for(&f.resets, 4);
        for (unsigned i = 0; i < 3; i++) {
                pause_and_wait(&f);
                loop_call(f.control, do_press, &f);
                CHECK_EQ(f.state, CTL_STATE_PAUSED);
                before = f.resets;
                (void) usleep(300000);
                CHECK(f.resets <= before + 1); /* the one that was due */
                loop_call(f.control, do_resume, &f);
                CHECK_EQ(f.state, CTL_STATE_RUNNING);
                wait_for(&f.resets, before + 2);
        }
        pause_and_wait(&f);
        (void) usleep(200000);
        f.resets = 0;
        loop_call(f.control, do_resets, &f);
        fixture_done(&f);
}

static uint64_t file_limit;
static int limit_error;
static atomic_uint entered[THREAD_KIND_MAX];

static int note_limit(uint64_t size) {
        file_limit = size;
        return limit_error;
}

static int note_thread(void *role) {
        entered[((const struct thread_role *) role)->kind]++;
        return 0;
}

static struct virtio_device *new_disk(uint64_t size, bool readonly) {
        struct blk_config config = { .fd = memfd_create("image", MFD_CLOEXEC), .readonly = readonly };
        struct virtio_device *dev;

        CHECK(config.fd >= 0 && ftruncate(config.fd, (off_t) size) == 0);
        CHECK_EQ(blk_new(&config, &dev), 0);
        return dev;
}

/* Files are limited to the largest image that can be written, before the kernel is looked at; threads get their roles.
 */
static void test_confinement(void) {
        static const struct vm_confinement confinement = { .enter_thread = note_thread, .limit_files = note_limit };
        struct vm_callbacks callbacks = { .confinement = &confinement };
        const char *text = "";

        for (unsigned round = 0; round < 2; round++) {
                struct vm_config config;
                struct loop *control;
                struct vm *vm;

                make_config(&config);
                limit_error = round == 0 ? -EPERM : 0;
                CHECK_EQ(loop_new("control", &control), 0);
                CHECK_EQ(vm_new(&config, &callbacks, control, &vm, &text), 0);
                CHECK(vm_add_virtio(vm, new_disk(1 << 20, false), 0) > 0);
                CHECK(vm_add_virtio(vm, new_disk(3 << 20, false), 0) > 0);
                CHECK(vm_add_virtio(vm, new_disk(5 << 20, true), 0) > 0);
                CHECK_EQ(vm_start(vm, true, &text), limit_error);
                CHECK_EQ(file_limit, 3 << 20);
                CHECK_EQ(entered[THREAD_VCPU], round);
                CHECK_EQ(entered[THREAD_SERIAL], round);
                CHECK(entered[THREAD_DISK] >= 3 * round);
                vm_free(vm);
                loop_free(control);
        }
}

struct plug {
        struct fixture *fixture;
        struct virtio_device *dev;
        int result;
};

static void do_plug(void *arg) {
        struct plug *plug = arg;

        plug->result = vm_plug_virtio(plug->fixture->vm, plug->dev, 0);
}

/* What comes later may be larger than what was there at the start: not before the limit of files allows it. */
static void test_plug_within_limit(void) {
        struct fixture f = { .paused = true };
        struct plug plug = { .fixture = &f, .dev = new_disk(3 << 20, false) };
        struct rlimit old, low;

        fixture_start(&f);
        CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
        low = (struct rlimit) { .rlim_cur = (3 << 20) - 1, .rlim_max = old.rlim_max };
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
        loop_call(f.control, do_plug, &plug);
        CHECK_EQ(plug.result, -EFBIG);
        low.rlim_cur++;
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
        loop_call(f.control, do_plug, &plug);
        CHECK_EQ(plug.result, 1);
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
        plug.dev = new_disk(5 << 20, true);
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
        loop_call(f.control, do_plug, &plug); /* nothing is written to it */
        CHECK_EQ(plug.result, 2);
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
        fixture_done(&f);
}

static unsigned count_threads(void) {
        DIR *dir = opendir("/proc/self/task");
        const struct dirent *entry;
        unsigned n = 0;

        CHECK(dir);
        while ((entry = readdir(dir))) {
                char path[300], name[16] = "";
                FILE *file;

                (void) snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
                file = fopen(path, "re");
                if (!file)
                        continue;
                if (fgets(name, sizeof(name), file) &&
                    strncmp(name, "kvm-", 4) != 0) /* KVM's own begin when it likes */
                        n++;
                (void) fclose(file);
        }
        (void) closedir(dir);
        return n;
}

/* A thread that was joined may be in /proc for a moment. */
static void wait_for_threads(unsigned n) {
        for (unsigned i = 0; i < 1000 && count_threads() != n; i++)
                (void) usleep(1000);
        CHECK_EQ(count_threads(), n);
}

static void do_remove(void *arg) {
        struct fixture *f = arg;

        CHECK_EQ(vm_unplug_virtio(f->vm, 2, true), 0);
}

static void do_remove_others(void *arg) {
        struct fixture *f = arg;

        CHECK_EQ(vm_unplug_virtio(f->vm, 2, true), -ENOENT);
        CHECK_EQ(vm_unplug_virtio(f->vm, 0, true), -ENOENT);
        CHECK_EQ(vm_unplug_virtio(f->vm, 31, true), -ENOENT); /* the panic device stays */
        CHECK_EQ(vm_unplug_virtio(f->vm, UINT32_MAX, true), -ENOENT);
        CHECK_EQ(vm_unplug_virtio(f->vm, 3, true), 0);
        CHECK_EQ(vm_unplug_virtio(f->vm, 1, true), 0);
}

/* A guest that gives its disk away runs on; it then asks for a restart. */
static void test_eject(void) {
        static const uint8_t code[] = {
                0x66, 0xba, 0x18, 0x06,       /* mov $0x618, %dx: EJECT */
                0xb8, 0x02, 0x00, 0x00, 0x00, /* mov $2, %eax: slot 1 */
                0xef,                         /* out %eax, (%dx) */
        };
        struct fixture f = { .devices = { new_disk(1 << 20, false) } };
        struct kernel old = kernel;

        memmove(kernel.code + sizeof(code), old.code, sizeof(kernel.code) - sizeof(code));
        memcpy(kernel.code, code, sizeof(code));
        fixture_start(&f);
        kernel = old;
        wait_for(&f.removed, 1);
        CHECK_EQ(f.removed_slot, 1);
        wait_for(&f.resets, 2);
        CHECK_EQ(f.removed, 1);
        CHECK_EQ(f.state, CTL_STATE_RUNNING);
        fixture_done(&f);
}

/* Devices go while the guest restarts all the time, or stands still: nothing of them is left, and it goes on. */
static void test_remove(void) {
        for (unsigned round = 0; round < 2; round++) {
                struct fixture f = { .paused = round };
                unsigned fds, threads, before;

                fixture_start(&f);
                fds = count_entries("/proc/self/fd");
                threads = count_threads();
                fixture_done(&f);

                f = (struct fixture) { .paused = round };
                for (unsigned i = 0; i < 3; i++)
                        f.devices[i] = new_disk(1 << 20, false);
                fixture_start(&f);
                CHECK(count_entries("/proc/self/fd") > fds);
                loop_call(f.control, do_remove, &f);
                wait_for(&f.removed, 1);
                CHECK_EQ(f.removed_slot, 2);
                loop_call(f.control, do_remove_others, &f);
                wait_for(&f.removed, 3);
                wait_for_threads(threads);
                CHECK_EQ(count_entries("/proc/self/fd"), fds);
                CHECK_EQ(f.state, f.paused ? CTL_STATE_PAUSED : CTL_STATE_RUNNING);
                if (f.paused)
                        loop_call(f.control, do_resume, &f);
                before = f.resets;
                wait_for(&f.resets, before + 2);
                CHECK_EQ(f.removed, 3);
                fixture_done(&f);
        }
}

/* A device with slow requests. */
struct slow {
        struct virtio_device dev;
        struct virtqueue queue;
        atomic_uint freed;
};

static void slow_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
}

static int slow_activate(struct virtio_device *dev) {
        return 0;
}

static bool slow_finish(struct virtio_device *dev) {
        return false;
}

static void slow_kick(struct virtio_device *dev, unsigned index) {
}

static void slow_free(struct virtio_device *dev) {
        dev->loop = loop_free(dev->loop);
        ((struct slow *) dev)->freed++;
}

static const struct virtio_device_ops slow_ops = {
        .config_read = slow_config_read,
        .activate = slow_activate,
        .reset = slow_finish,
        .quiesce = slow_finish,
        .kick = slow_kick,
        .free = slow_free,
};

static void slow_init(struct slow *slow) {
        *slow = (struct slow) { .queue = { .size_max = 16 } };
        slow->dev = (struct virtio_device) {
                .ops = &slow_ops, .name = "slow", .type = 4, .n_queues = 1, .queues = &slow->queue
        };
        CHECK_EQ(loop_new("slow", &slow->dev.loop), 0);
}

static void do_remove_slow(void *arg) {
        struct fixture *f = arg;

        CHECK_EQ(vm_unplug_virtio(f->vm, 1, true), 0);
        CHECK_EQ(vm_unplug_virtio(f->vm, 1, true), -EALREADY);
        CHECK_EQ(vm_reset(f->vm), VM_PENDING);
        CHECK_EQ(vm_pause(f->vm), VM_PENDING);
        CHECK_EQ(vm_unplug_virtio(f->vm, 2, true), 0);
}

static void do_finish_slow(void *arg) {
        struct virtio_device *dev = arg;

        dev->transport->idle(dev);
}

/*
 * A device whose requests do not end holds up neither control nor other devices. The machine does what it was asked
 * meanwhile once the device has gone.
 */
static void test_remove_at_work(void) {
        struct slow slow;
        struct fixture f = { .devices = { &slow.dev } };
        unsigned before;

        slow_init(&slow);
        f.devices[1] = new_disk(1 << 20, false);
        fixture_start(&f);
        loop_call(f.control, do_remove_slow, &f);
        wait_for(&f.removed, 1);
        CHECK_EQ(f.removed_slot, 2);
        (void) usleep(50000);
        CHECK_EQ(f.removed, 1);
        CHECK_EQ(slow.freed, 0);
        CHECK_EQ(f.pauses, 0);
        before = f.resets;
        loop_call(slow.dev.loop, do_finish_slow, &slow.dev);
        wait_for(&f.removed, 2);
        CHECK_EQ(f.removed_slot, 1);
        CHECK_EQ(slow.freed, 1);
        wait_for(&f.resets, before + 1);
        wait_for(&f.pauses, 1);
        CHECK_EQ(f.state, CTL_STATE_PAUSED);
        fixture_done(&f);
}

/* The guest ejects a device whose requests are at work, and looks for it: it powers off if nothing is there. */
static void test_eject_at_work(void) {
        static const uint8_t code[] = {
                0x66, 0xba, 0x18, 0x06,       /* mov $0x618, %dx: EJECT */
                0xb8, 0x02, 0x00, 0x00, 0x00, /* mov $2, %eax: slot 1 */
                0xef,                         /* out %eax, (%dx) */
                0x66, 0xba, 0xf8, 0x0c,       /* mov $0xcf8, %dx */
                0xb8, 0x00, 0x08, 0x00, 0x80, /* mov $0x80000800, %eax: its vendor and device id */
                0xef,                         /* out %eax, (%dx) */
                0x66, 0xba, 0xfc, 0x0c,       /* mov $0xcfc, %dx */
                0xed,                         /* in (%dx), %eax */
                0x40,                         /* inc %eax */
                0x75, 0x07,                   /* jnz: to hlt */
                0x66, 0xba, 0x00, 0x06,       /* mov $0x600, %dx: sleep control */
                0xb0, 0x34,                   /* mov $0x34, %al: enabled, type 5 */
                0xee,                         /* out %al, (%dx) */
                0xf4, 0xeb, 0xfd,             /* hlt; again */
        };
        struct slow slow;
        struct fixture f = { .devices = { &slow.dev } };
        struct kernel old = kernel;

        slow_init(&slow);
        memcpy(kernel.code, code, sizeof(code));
        fixture_start(&f);
        kernel = old;
        wait_for(&f.state, CTL_STATE_SHUTDOWN);
        CHECK_EQ(f.reason, CTL_REASON_GUEST);
        CHECK_EQ(f.removed, 0);
        loop_call(slow.dev.loop, do_finish_slow, &slow.dev);
        wait_for(&f.removed, 1);
        CHECK_EQ(f.removed_slot, 1);
        CHECK_EQ(slow.freed, 1);
        fixture_done(&f);
}

int main(void) {
        RUN(test_confinement);
        RUN(test_plug_within_limit);
        RUN(test_remove);
        RUN(test_eject);
        RUN(test_remove_at_work);
        RUN(test_eject_at_work);
        RUN(test_restarts_are_paced);
        RUN(test_actions_while_it_waits);
        RUN(test_requests_while_it_waits);
        return 0;
}
