/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPUs on the real KVM, running a few bytes of 16-bit code: I/O and MMIO exits, the gate, reset, triple fault.
 * Needs no more of KVM than a software implementation of it offers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../test.h"
#include "arch/x86_64/vcpu_state.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "core/irq.h"
#include "core/memory.h"
#include "core/vcpus.h"

#define CODE   0x1000u
#define GDT    0x3000u
#define PORT   0x80u
#define WINDOW 0xd0000000u

struct board {
        struct parts parts;
        int kvm_fd, vm_fd;
        struct guest_mem *mem;
        struct bus pio, mmio;
        struct vcpus *vcpus;
        atomic_uint writes, last, failed, shut_down, parked;
        _Atomic bool hold_on_write;
};

static void on_read(void *arg, uint64_t offset, void *data, unsigned len) {
        memset(data, 0x42, len);
}

static void on_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct board *b = arg;

        b->last = *(const uint8_t *) data;
        if (b->hold_on_write)
                vcpus_hold(b->vcpus);
        b->writes++;
}

static const struct bus_ops ops = { .read = on_read, .write = on_write };

static void on_failed(void *arg, unsigned index) {
        ((struct board *) arg)->failed++;
}

static void on_shut_down(void *arg, unsigned index) {
        ((struct board *) arg)->shut_down++;
}

static void on_parked(void *arg) {
        ((struct board *) arg)->parked++;
}

static bool board_init(struct board *b) {
        struct kvm_userspace_memory_region region = { .memory_size = GUEST_MEM_MIN };
        struct vcpus_config config = { .parts = &b->parts,
                                       .version = machine_version_newest(),
                                       .topology = { 1, 1, 1, 1, 1 },
                                       .pio = &b->pio,
                                       .mmio = &b->mmio,
                                       .failed = on_failed,
                                       .shut_down = on_shut_down,
                                       .parked = on_parked,
                                       .arg = b };

        memset(b, 0, sizeof(*b));
        b->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (b->kvm_fd < 0)
                return false;
        b->vm_fd = ioctl(b->kvm_fd, KVM_CREATE_VM, 0);
        CHECK(b->vm_fd >= 0);
        CHECK_EQ(ioctl(b->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul), 0);
        if (ioctl(b->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
                TEST_SKIP("this KVM has no interrupt chips in the kernel");
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN, 0, 0, &b->mem), 0);
        region.userspace_addr = (uint64_t) b->mem->host;
        CHECK_EQ(ioctl(b->vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
        CHECK_EQ(bus_add(&b->pio, PORT, 8, &ops, b), 0);
        CHECK_EQ(bus_add(&b->mmio, WINDOW, 0x1000, &ops, b), 0);
        config.kvm_fd = b->kvm_fd;
        config.vm_fd = b->vm_fd;
        CHECK_EQ(vcpus_new(&config, &b->vcpus), 0);
        return true;
}

static void board_done(struct board *b) {
        vcpus_free(b->vcpus);
        guest_mem_free(b->mem);
        close(b->vm_fd);
        close(b->kvm_fd);
}

static void reset_to(struct board *b, const struct boot_entry *entry) {
        const char *text;

        CHECK_EQ(parts_reset(&b->parts, &text), 0);
        CHECK_EQ(vcpus_set_entry(b->vcpus, entry), 0);
}

static void load(struct board *b, const uint8_t *code, size_t len) {
        struct boot_entry entry = { .mode = BOOT_REAL_MODE, .rip = CODE };

        CHECK_EQ(guest_mem_write(b->mem, CODE, code, len), 0);
        reset_to(b, &entry);
}

static void wait_for(atomic_uint *what, unsigned at_least) {
        struct timespec ms = { .tv_nsec = 1000000 };

        for (unsigned i = 0; i < 20000 && *what < at_least; i++)
                (void) nanosleep(&ms, NULL);
        CHECK(*what >= at_least);
}

static void wait_for_either(const atomic_uint *a, const atomic_uint *b) {
        for (unsigned i = 0; i < 20000 && *a + *b == 0; i++)
                (void) usleep(1000);
}

/* Waits for the vCPU to be at the gate; it says so, unless it was there. */
static void pause_and_wait(struct board *b) {
        unsigned before = b->parked;

        if (!vcpus_pause(b->vcpus))
                wait_for(&b->parked, before + 1);
        CHECK(vcpus_are_parked(b->vcpus));
}

/* in al, 0x81; inc al; out 0x80, al; hlt */
static const uint8_t io_code[] = { 0xe4, PORT + 1, 0xfe, 0xc0, 0xe6, PORT, 0xf4, 0xeb, 0xfd };
/* again: out 0x80, al; inc al; jmp again */
static const uint8_t busy_code[] = { 0xe6, PORT, 0xfe, 0xc0, 0xeb, 0xfa };

static void test_port_io(void) {
        struct board b;

        if (!board_init(&b))
                TEST_SKIP("there is no /dev/kvm");
        load(&b, io_code, sizeof(io_code));
        CHECK_EQ(vcpus_start(b.vcpus), 0);
        CHECK_EQ(b.writes, 0); /* the gate is closed */
        vcpus_resume(b.vcpus);
        wait_for(&b.writes, 1);
        CHECK_EQ(b.last, 0x43);
        board_done(&b); /* halted in the kernel: the kick has to reach it */
        CHECK_EQ(b.writes, 1);
}

static void test_pause_and_resume(void) {
        struct board b;
        unsigned seen;
        pid_t tid;

        board_init(&b);
        load(&b, busy_code, sizeof(busy_code));
        CHECK_EQ(vcpus_tids(b.vcpus, &tid, 1), 0);
        CHECK_EQ(vcpus_start(b.vcpus), 0);
        CHECK_EQ(vcpus_tids(b.vcpus, &tid, 1), 1);
        CHECK(tid > 0 && tid != gettid());
        for (unsigned i = 1; i <= 50; i++) {
                struct timespec ms = { .tv_nsec = 1000000 };

                seen = b.writes;
                vcpus_resume(b.vcpus);
                wait_for(&b.writes, seen + 1);
                pause_and_wait(&b);
                pause_and_wait(&b);
                seen = b.writes;
                if (i % 10 == 0)
                        (void) nanosleep(&ms, NULL);
                CHECK_EQ(b.writes, seen);
        }
        board_done(&b);
}

/* A vCPU that holds itself runs no further instruction, and nothing is written twice or lost. */
static void test_hold_and_reset(void) {
        struct board b;

        board_init(&b);
        load(&b, busy_code, sizeof(busy_code));
        b.hold_on_write = true;
        CHECK_EQ(vcpus_start(b.vcpus), 0);
        vcpus_resume(b.vcpus);
        for (unsigned i = 1; i <= 20; i++) {
                wait_for(&b.writes, i);
                pause_and_wait(&b);
                CHECK_EQ(b.writes, i);
                CHECK_EQ(b.last, i <= 10 ? (i - 1) : (i - 11));
                if (i == 10)
                        load(&b, busy_code, sizeof(busy_code)); /* registers as at the start */
                vcpus_resume(b.vcpus);
                CHECK_EQ(b.writes, i);
                vcpus_release(b.vcpus);
        }
        board_done(&b);
}

/*
 * lidt with a limit of 0, then int3: a fault that cannot be delivered, three times over. In protected mode, since
 * there is KVM that does not look at the limit in real mode. Some give up where others shut the processor down.
 */
static void test_triple_fault(void) {
        static const uint8_t code[] = { 0x0f, 0x01, 0x1d, 0x00, 0x20, 0x00, 0x00, 0xcc, 0xeb, 0xfe };
        struct boot_entry entry = { .mode = BOOT_PVH, .rip = CODE, .gdt = GDT };
        uint64_t gdt[BOOT_GDT_ENTRIES];
        struct board b;

        board_init(&b);
        boot_gdt_fill(BOOT_PVH, gdt);
        CHECK_EQ(guest_mem_write(b.mem, GDT, gdt, sizeof(gdt)), 0);
        CHECK_EQ(guest_mem_write(b.mem, CODE, code, sizeof(code)), 0);
        reset_to(&b, &entry);
        CHECK_EQ(vcpus_start(b.vcpus), 0);
        vcpus_resume(b.vcpus);
        wait_for_either(&b.shut_down, &b.failed);
        pause_and_wait(&b);
        CHECK_EQ(b.shut_down + b.failed, 1);
        /* And it can be brought back. */
        load(&b, io_code, sizeof(io_code));
        vcpus_release(b.vcpus);
        vcpus_resume(b.vcpus);
        wait_for(&b.writes, 1);
        board_done(&b);
}

static int refuse(void *arg) {
        return -EPERM;
}

static void test_prepare_refuses(void) {
        struct board b;
        struct vcpus_config config;

        board_init(&b);
        vcpus_free(b.vcpus);
        close(b.vm_fd);
        b.vm_fd = ioctl(b.kvm_fd, KVM_CREATE_VM, 0);
        CHECK_EQ(ioctl(b.vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
        config = (struct vcpus_config) { .parts = &b.parts,
                                         .kvm_fd = b.kvm_fd,
                                         .vm_fd = b.vm_fd,
                                         .version = machine_version_newest(),
                                         .topology = { 2, 1, 1, 2, 1 },
                                         .pio = &b.pio,
                                         .mmio = &b.mmio,
                                         .enter_thread = refuse,
                                         .failed = on_failed,
                                         .arg = &b };
        CHECK_EQ(vcpus_new(&config, &b.vcpus), 0);
        CHECK_EQ(vcpus_start(b.vcpus), -EPERM);
        board_done(&b);
        CHECK(!vcpus_free(NULL));
}

int main(void) {
        RUN(test_port_io);
        RUN(test_pause_and_resume);
        RUN(test_hold_and_reset);
        RUN(test_triple_fault);
        RUN(test_prepare_refuses);
        return 0;
}
