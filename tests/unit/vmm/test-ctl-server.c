/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control server with a machine that only pretends. The real devices are created,
 * but no queue is ever set up.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "../ctl-session.h"
#include "../test.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "board/vm.h"
#include "core/loop.h"
#include "core/virtio.h"
#include "ctl/message.h"
#include "ctl/server.h"
#include "driver.h"

/* The pretended machine. */
struct vm {
        struct vm_callbacks callbacks;
        struct virtio_device *devices[64];
        unsigned n_devices, slot_wanted[64];
        enum ctl_state state;
        enum ctl_reason reason;
        enum ctl_action action;
        _Atomic unsigned buttons, reboot_buttons, resets;
        unsigned unplugged_slot, leaving_slot;
        bool slow, pausing; /* its disks take their time */
        int event_fd;
        void (*order)(void); /* what the guest does when event_fd is written */
};

static struct vm fake;
static int fake_new_error, fake_start_error, fake_plug_error;

void vm_config_init(struct vm_config *config) {
        *config = (struct vm_config) {
                .vcpus = 1,
                .kvm_fd = -EBADF,
                .kernel_fd = -EBADF,
                .initrd_fd = -EBADF,
                .serial_fd = -EBADF,
                .serial_log_fd = -EBADF,
        };
}

void vm_config_done(struct vm_config *config) {
        close_fd(&config->kvm_fd);
        close_fd(&config->kernel_fd);
        close_fd(&config->initrd_fd);
        close_fd(&config->serial_fd);
        close_fd(&config->serial_log_fd);
}

static void on_order(void *arg, uint32_t events) {
        eventfd_t count;

        CHECK_EQ(eventfd_read(fake.event_fd, &count), 0);
        fake.order();
}

int vm_new(struct vm_config *config, const struct vm_callbacks *callbacks, struct loop *control, struct vm **ret,
           const char **ret_text) {
        if (fake_new_error) {
                *ret_text = "no such machine";
                return fake_new_error;
        }
        fake.callbacks = *callbacks;
        fake.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        CHECK_EQ(loop_add_fd(control, fake.event_fd, EPOLLIN, on_order, NULL, NULL), 0);
        vm_config_done(config);
        *ret = &fake;
        return 0;
}

struct vm *vm_free(struct vm *vm) {
        for (unsigned i = 0; vm && i < vm->n_devices; i++)
                vm->devices[i]->ops->free(vm->devices[i]);
        if (vm)
                close_fd(&vm->event_fd);
        return NULL;
}

int vm_add_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot) {
        vm->slot_wanted[vm->n_devices] = slot;
        vm->devices[vm->n_devices++] = dev;
        return slot ? (int) slot : (int) vm->n_devices;
}

int vm_plug_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot) {
        return fake_plug_error ? fake_plug_error : vm_add_virtio(vm, dev, slot);
}

bool vm_is_leaving(const struct vm *vm, unsigned slot) {
        return slot == vm->leaving_slot;
}

int vm_unplug_virtio(struct vm *vm, unsigned slot, bool force) {
        if (vm_is_leaving(vm, slot))
                return -EALREADY;
        vm->unplugged_slot = slot;
        if (force)
                vm->callbacks.removed(vm->callbacks.arg, slot);
        return 0;
}

static void fake_state(enum ctl_state state, enum ctl_reason reason) {
        fake.state = state;
        fake.reason = reason;
        fake.callbacks.state_changed(fake.callbacks.arg, state, reason);
}

int vm_start(struct vm *vm, bool paused, const char **ret_text) {
        if (fake_start_error) {
                *ret_text = "the kernel is a sandwich";
                return fake_start_error;
        }
        fake_state(paused ? CTL_STATE_PAUSED : CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

int vm_pause(struct vm *vm) {
        if (vm->slow) {
                vm->pausing = true;
                return VM_PENDING;
        }
        fake_state(CTL_STATE_PAUSED, CTL_REASON_REQUEST);
        return 0;
}

int vm_resume(struct vm *vm) {
        if (vm->pausing)
                fake.callbacks.finished(fake.callbacks.arg, VM_PAUSE, -ECANCELED);
        vm->pausing = false;
        fake_state(CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

int vm_reset(struct vm *vm) {
        vm->resets++;
        if (vm->slow)
                return VM_PENDING;
        vm->callbacks.was_reset(vm->callbacks.arg);
        return 0;
}

int vm_power_button(struct vm *vm) {
        vm->buttons++;
        return 0;
}

int vm_reboot_button(struct vm *vm) {
        vm->reboot_buttons++;
        return 0;
}

int vm_nmi(struct vm *vm) {
        return -ENXIO;
}

void vm_set_actions(struct vm *vm, enum ctl_action on_poweroff, enum ctl_action on_reboot, enum ctl_action on_crash) {
        vm->action = on_poweroff;
}

void vm_pause_for_error(struct vm *vm) {
        fake_state(CTL_STATE_PAUSED, CTL_REASON_IO_ERROR);
}

bool vm_is_pausing(const struct vm *vm) {
        return vm->pausing;
}

enum ctl_state vm_state(const struct vm *vm) {
        return vm->state;
}

enum ctl_reason vm_reason(const struct vm *vm) {
        return vm->reason;
}

enum ctl_action vm_end_action(const struct vm *vm) {
        return vm->action;
}

unsigned vm_vcpu_tids(const struct vm *vm, pid_t *tids, unsigned max) {
        tids[0] = 42;
        return 1;
}

uint64_t vm_guest_errors(const struct vm *vm) {
        return 7;
}

/* One server on a thread of its own, and a client. */
struct fixture {
        struct sockaddr_un address;
        socklen_t address_len;
        int listen_fd, client;
        int exit_fd;
        pthread_t thread;
        int result;
        uint32_t serial;
        uint32_t last_id; /* of a device */
};

static void *server_thread(void *arg) {
        struct fixture *f = arg;
        struct ctl_server_config config = { .listen_fd = f->listen_fd };

        f->result = ctl_server_run(&config);
        return NULL;
}

static int client_connect(const struct fixture *f) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK(connect(fd, (const struct sockaddr *) &f->address, f->address_len) == 0);
        return fd;
}

static void fixture_start(struct fixture *f) {
        *f = (struct fixture) { .address.sun_family = AF_UNIX, .serial = 100 };
        memset(&fake, 0, sizeof(fake));
        fake_new_error = fake_start_error = fake_plug_error = 0;
        f->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(f->listen_fd >= 0);
        CHECK(bind(f->listen_fd, (struct sockaddr *) &f->address, sizeof(f->address.sun_family)) == 0);
        f->address_len = sizeof(f->address);
        CHECK(getsockname(f->listen_fd, (struct sockaddr *) &f->address, &f->address_len) == 0);
        CHECK(listen(f->listen_fd, 4) == 0);
        f->exit_fd = memfd_create("exit", MFD_CLOEXEC);
        CHECK(f->exit_fd >= 0);
        CHECK(pthread_create(&f->thread, NULL, server_thread, f) == 0);
        f->client = client_connect(f);
}

/* Waits until the server has ended. */
static void fixture_join(struct fixture *f) {
        struct timespec until;

        CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
        until.tv_sec += 30;
        CHECK_EQ(pthread_timedjoin_np(f->thread, NULL, &until), 0);
}

static int fixture_close(struct fixture *f) {
        close_fd(&f->client);
        close_fd(&f->exit_fd);
        return f->result;
}

static int fixture_end(struct fixture *f) {
        fixture_join(f);
        return fixture_close(f);
}

static void check_exit_record(const struct fixture *f, enum ctl_state state, enum ctl_reason reason, int error) {
        struct ctl_exit_record record;

        CHECK(pread(f->exit_fd, &record, sizeof(record), 0) == sizeof(record));
        CHECK_EQ(record.magic, CTL_MAGIC);
        CHECK_EQ(record.state, state);
        CHECK_EQ(record.reason, reason);
        CHECK_EQ(record.error, error);
}

/* The next message from the monitor; checked as the daemon does, whose version is the newest unless it is the answer to
 * a peer that has not said HELLO. */
static void receive(int fd, struct ctl_message *m) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        char text[CTL_TEXT_MAX];
        int r;

        CHECK(poll(&pfd, 1, 10000) == 1);
        CHECK_EQ(ctl_receive(fd, m), 1);
        CHECK(m->header.version == CTL_VERSION || m->header.version == CTL_VERSION_MIN);
        r = ctl_check(m, CTL_SENDER_MONITOR, m->header.version, text);
        if (r != 0)
                fprintf(stderr, "%s\n", text);
        CHECK_EQ(r, 0);
}

/* Waits for an event, which has to be the next message. */
static void expect_event(int fd, uint16_t type, struct ctl_message *m) {
        receive(fd, m);
        CHECK_EQ(m->header.type, type);
        CHECK_EQ(m->header.serial, 0);
}

static void expect_state(int fd, enum ctl_state state, enum ctl_reason reason) {
        struct ctl_message m;
        const struct ctl_event_state *event = (const struct ctl_event_state *) m.data;

        expect_event(fd, CTL_EVENT_STATE, &m);
        CHECK_EQ(event->state, state);
        CHECK_EQ(event->reason, reason);
}

/* Sends a request and returns the error in its reply; events in between are skipped. */
static int call_fds(struct fixture *f, uint16_t type, void *request, size_t size, const int *fds, unsigned n_fds,
                    struct ctl_message *reply) {
        ctl_header_init(request, type, ++f->serial, size);
        CHECK_EQ(ctl_send(f->client, request, fds, n_fds), 0);
        do
                receive(f->client, reply);
        while (!(reply->header.type & CTL_REPLY));
        CHECK_EQ(reply->header.type, type | CTL_REPLY);
        CHECK_EQ(reply->header.serial, f->serial);
        CHECK((((struct ctl_reply *) reply->data)->error == 0) == !((struct ctl_reply *) reply->data)->text[0]);
        return ((struct ctl_reply *) reply->data)->error;
}

static int call(struct fixture *f, uint16_t type, void *request, size_t size) {
        struct ctl_message reply;
        return call_fds(f, type, request, size, NULL, 0, &reply);
}

static int call_plain(struct fixture *f, uint16_t type) {
        struct ctl_header header;
        return call(f, type, &header, sizeof(header));
}

static int hello(struct fixture *f) {
        struct ctl_hello request = { .version_min = 1, .version_max = CTL_VERSION };
        return call(f, CTL_HELLO, &request, sizeof(request));
}

static int call_fd(struct fixture *f, uint16_t type, void *request, size_t size, int fd) {
        struct ctl_message reply;
        return call_fds(f, type, request, size, &fd, 1, &reply);
}

static struct ctl_machine good_machine(void) {
        return (struct ctl_machine) {
                .memory_bytes = 64 << 20,
                .vcpus = 2,
                .sockets = 1,
                .dies = 1,
                .cores = 2,
                .threads = 1,
                .name = "test",
        };
}

static int set_machine(struct fixture *f) {
        struct ctl_machine machine = good_machine();
        return call_fd(f, CTL_SET_MACHINE, &machine, sizeof(machine), 2);
}

static int make_image(void) {
        int fd = memfd_create("image", MFD_CLOEXEC);

        CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
        return fd;
}

static int add_disk(struct fixture *f) {
        struct ctl_disk disk = { .place.id = ++f->last_id, .name = "vda", .serial = "S1" };
        AUTOCLOSE int fd = make_image();
        return call_fd(f, CTL_ADD_DISK, &disk, sizeof(disk), fd);
}

static void set_up(struct fixture *f) {
        struct ctl_header header;
        struct ctl_file file = { .name = "vmlinuz" };
        AUTOCLOSE int image = make_image();

        CHECK_EQ(hello(f), 0);
        CHECK_EQ(set_machine(f), 0);
        CHECK_EQ(call_fd(f, CTL_SET_KERNEL, &file, sizeof(file), image), 0);
        CHECK_EQ(call_fd(f, CTL_SET_EXIT_RECORD, &header, sizeof(header), f->exit_fd), 0);
        CHECK_EQ(add_disk(f), 0);
}

static int start(struct fixture *f, unsigned flags) {
        struct ctl_start request = { .flags = flags };
        return call(f, CTL_START, &request, sizeof(request));
}

/* On the control thread. Not by loop_call(), whose caller would come back to a loop that has ended and is gone. */
static void on_control(void (*order)(void)) {
        fake.order = order;
        CHECK_EQ(eventfd_write(fake.event_fd, 1), 0);
}

static void power_off(void) {
        fake_state(CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
}

static void test_life(void) {
        struct fixture f;
        struct ctl_message m;
        struct ctl_query_reply *query = (struct ctl_query_reply *) m.data;
        struct ctl_stats_reply *reply = (struct ctl_stats_reply *) m.data;
        struct ctl_stats stats = {};
        struct ctl_header header;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, CTL_START_PAUSED), 0);
        CHECK_EQ(fake.n_devices, 1);
        CHECK_EQ(call_plain(&f, CTL_RESUME), 0);
        CHECK_EQ(call_plain(&f, CTL_PAUSE), 0);
        CHECK_EQ(call_plain(&f, CTL_RESUME), 0);
        CHECK_EQ(call_plain(&f, CTL_POWER_BUTTON), 0);
        CHECK_EQ(fake.buttons, 1);
        CHECK_EQ(call_plain(&f, CTL_REBOOT_BUTTON), 0);
        CHECK_EQ(fake.reboot_buttons, 1);
        CHECK_EQ(call_plain(&f, CTL_RESET), 0);
        CHECK_EQ(fake.resets, 1);
        CHECK_EQ(call_plain(&f, CTL_NMI), -ENXIO);
        CHECK_EQ(call_fds(&f, CTL_QUERY, &header, sizeof(header), NULL, 0, &m), 0);
        CHECK_EQ(query->state, CTL_STATE_RUNNING);
        CHECK_EQ(query->vcpus, 1);
        CHECK_EQ(query->vcpu_tid[0], 42);
        CHECK_EQ(call_fds(&f, CTL_STATS, &stats, sizeof(stats), NULL, 0, &m), 0);
        CHECK_EQ(reply->n, 1);
        CHECK_EQ(reply->more, 0);
        CHECK_EQ(reply->device[0].id, 1);
        CHECK_EQ(reply->device[0].type, CTL_ADD_DISK);
        CHECK_EQ(reply->device[0].disk.capacity, 1 << 20);
        CHECK_EQ(reply->guest_errors, 7);

        on_control(power_off);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
        fixture_join(&f);
        check_exit_record(&f, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST, 0);
        CHECK_EQ(fixture_close(&f), 0);
}

static void test_preserve_and_quit(void) {
        struct ctl_actions actions = { .on_poweroff = CTL_ACTION_PRESERVE };
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(call(&f, CTL_SET_ACTIONS, &actions, sizeof(actions)), 0);
        on_control(power_off);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
        CHECK_EQ(call_plain(&f, CTL_QUERY), 0);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

/* The reply to a type that the monitor does not know; no table has it. */
static void expect_unknown(struct fixture *f, uint16_t type) {
        struct pollfd pfd = { .fd = f->client, .events = POLLIN };
        struct ctl_header header;
        struct ctl_message m;

        ctl_header_init(&header, type, 77, sizeof(header));
        CHECK_EQ(ctl_send(f->client, &header, NULL, 0), 0);
        CHECK(poll(&pfd, 1, 10000) == 1);
        CHECK_EQ(ctl_receive(f->client, &m), 1);
        CHECK_EQ(m.length, sizeof(struct ctl_reply));
        CHECK_EQ(m.header.serial, 77);
        CHECK_EQ(((struct ctl_reply *) m.data)->error, -EOPNOTSUPP);
}

static int add_port(struct fixture *f, const char *name);

static void test_order(void) {
        struct ctl_link link = { .id = 1 }; /* the disk */
        struct ctl_message reply;
        struct ctl_header header;
        struct fixture f;

        fixture_start(&f);
        CHECK_EQ(call_plain(&f, CTL_QUERY), -EINVAL); /* no HELLO yet */
        CHECK_EQ(hello(&f), 0);
        CHECK_EQ(hello(&f), 0);
        for (uint16_t type = CTL_PAUSE; type <= CTL_NMI; type++)
                CHECK_EQ(call_plain(&f, type), -EINVAL);
        CHECK_EQ(call(&f, CTL_SET_LINK, &link, sizeof(link)), -EINVAL);
        CHECK_EQ(start(&f, 0), -EINVAL); /* no machine */
        CHECK_EQ(set_machine(&f), 0);
        CHECK_EQ(start(&f, 0), -EINVAL); /* no kernel */
        CHECK_EQ(set_machine(&f), -EBUSY);
        CHECK_EQ(call_fds(&f, CTL_SET_SERIAL, &header, sizeof(header), (int[]) { 2, 2 }, 2, &reply), 0);
        CHECK_EQ(call_fd(&f, CTL_SET_SERIAL, &header, sizeof(header), 2), -EBUSY);
        expect_unknown(&f, 33);
        expect_unknown(&f, CTL_EVENT_STATE);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(start(&f, 0), -EBUSY);
        CHECK_EQ(add_port(&f, "org.late"), -EOPNOTSUPP);
        CHECK_EQ(set_machine(&f), -EBUSY);
        CHECK_EQ(call(&f, CTL_SET_LINK, &link, sizeof(link)), -ENODEV);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static void test_versions(void) {
        struct ctl_hello request = { .version_min = CTL_VERSION + 1, .version_max = CTL_VERSION + 3 };
        struct ctl_message m;
        struct ctl_hello_reply *reply = (struct ctl_hello_reply *) m.data;
        struct fixture f;

        fixture_start(&f);
        CHECK_EQ(call(&f, CTL_HELLO, &request, sizeof(request)), -EPROTONOSUPPORT);
        CHECK_EQ(call_plain(&f, CTL_QUERY), -EINVAL);
        request.version_min = 1;
        CHECK_EQ(call_fds(&f, CTL_HELLO, &request, sizeof(request), NULL, 0, &m), 0);
        CHECK_EQ(reply->version, CTL_VERSION);
        CHECK_EQ(reply->state, CTL_STATE_SETUP);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

/* A descriptor that a request of the type takes. The caller closes it. */
static int any_fd(uint16_t type) {
        int fd = type == CTL_ADD_NIC    ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
                 : type == CTL_ADD_PORT ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
                 : type == CTL_ADD_RNG  ? open("/dev/zero", O_RDONLY | O_CLOEXEC)
                                        : make_image();

        CHECK(fd >= 0);
        return fd;
}

static void send_recorded(struct fixture *f, const struct session_packet *p) {
        AUTOCLOSE int fd = any_fd(p->header.type), log = make_image();
        const int fds[] = { fd, log };

        CHECK(p->fds <= 2);
        CHECK_EQ(ctl_send(f->client, p->data, fds, p->fds), 0);
}

/* The next packet has the recorded one's type, version and length. */
static void expect_recorded(struct fixture *f, const struct session_packet *p, struct ctl_message *m) {
        struct pollfd pfd = { .fd = f->client, .events = POLLIN };

        CHECK(poll(&pfd, 1, 10000) == 1);
        CHECK_EQ(ctl_receive(f->client, m), 1);
        CHECK_EQ(m->header.type, p->header.type);
        CHECK_EQ(m->header.version, CTL_VERSION_PROMISED);
        CHECK_EQ(m->header.serial, p->header.serial);
        CHECK_EQ(m->header.length, p->length);
        CHECK_EQ(m->length, p->length);
}

/* A daemon of the first promised version, as it was recorded, builds and runs a guest, to the end. */
static void test_daemon_of_promised_version(void) {
        static struct session session;
        struct session_packet state;
        struct ctl_message m;
        struct fixture f;

        session_load(&session, SESSION_PROMISED);
        state = *session_find(&session, '<', CTL_EVENT_STATE);
        fixture_start(&f);
        for (unsigned i = 0; i < session.n; i++) {
                const struct session_packet *p = &session.packets[i];

                if (p->direction == '>')
                        send_recorded(&f, p);
                if (p->direction == '>' || p->header.serial == 0)
                        continue;
                if (p->header.type == (CTL_START | CTL_REPLY) || p->header.type == (CTL_PAUSE | CTL_REPLY) ||
                    p->header.type == (CTL_RESUME | CTL_REPLY))
                        expect_recorded(&f, &state, &m); /* it precedes the reply */
                if (p->header.type == (CTL_RESET | CTL_REPLY))
                        expect_recorded(&f, session_find(&session, '<', CTL_EVENT_RESET), &m);
                if (p->header.type == (CTL_REMOVE | CTL_REPLY))
                        expect_recorded(&f, session_find(&session, '<', CTL_EVENT_REMOVED), &m);
                expect_recorded(&f, p, &m);
                CHECK_EQ(((struct ctl_reply *) m.data)->error, ((const struct ctl_reply *) p->data)->error);
        }
        CHECK_EQ(fixture_end(&f), 0);
        CHECK_EQ(fake.n_devices, 4);
}

static void out_of_space(void) {
        fake_state(CTL_STATE_PAUSED, CTL_REASON_IO_ERROR);
}

/* A daemon that is older than what is promised is told so; one that is newer gets our version. */
static void test_other_daemons(void) {
        struct ctl_hello request = { .version_min = 1, .version_max = 1 };
        struct ctl_message m;
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        close_fd(&f.client);
        f.client = client_connect(&f);
        CHECK_EQ(call_fds(&f, CTL_HELLO, &request, sizeof(request), NULL, 0, &m), -EPROTONOSUPPORT);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "peer speaks protocol versions 1 to 1, this monitor 2 to 3");
        CHECK_EQ(call_plain(&f, CTL_QUERY), -EINVAL); /* nothing was agreed on */

        request.version_max = CTL_VERSION + 1;
        ctl_header_init(&request.header, CTL_HELLO, 9, sizeof(request));
        request.header.version = CTL_VERSION + 1;
        CHECK_EQ(ctl_send(f.client, &request, NULL, 0), 0);
        receive(f.client, &m);
        CHECK_EQ(((struct ctl_hello_reply *) m.data)->version, CTL_VERSION);
        on_control(out_of_space);
        expect_state(f.client, CTL_STATE_PAUSED, CTL_REASON_IO_ERROR);
        CHECK_EQ(call_plain(&f, CTL_QUERY), 0);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

/* What ctl_check() cannot know. */
static void test_bad_machines(void) {
        static const struct {
                size_t offset;
                uint64_t value;
                size_t size;
        } bends[] = {
                { offsetof(struct ctl_machine, memory_bytes), 0, 8 },
                { offsetof(struct ctl_machine, memory_bytes), (64 << 20) + 4096, 8 },
                { offsetof(struct ctl_machine, memory_bytes), 62 << 20, 8 },
                { offsetof(struct ctl_machine, hugepage_size), 2 << 20, 8 },
                { offsetof(struct ctl_machine, flags), CTL_MACHINE_HUGETLB, 4 },
                { offsetof(struct ctl_machine, vcpus), 0, 4 },
                { offsetof(struct ctl_machine, vcpus), CTL_VCPUS_MAX + 1, 4 },
                { offsetof(struct ctl_machine, vcpus), 3, 4 },
                { offsetof(struct ctl_machine, sockets), 0, 4 },
                { offsetof(struct ctl_machine, cores), 0xffffffff, 4 },
                { offsetof(struct ctl_machine, cores), 257, 4 },
        };
        struct fixture f;

        fixture_start(&f);
        CHECK_EQ(hello(&f), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(bends); i++) {
                struct ctl_machine machine = good_machine();
                memcpy((uint8_t *) &machine + bends[i].offset, &bends[i].value, bends[i].size);
                CHECK_EQ(call_fd(&f, CTL_SET_MACHINE, &machine, sizeof(machine), 2), -EINVAL);
        }
        CHECK_EQ(set_machine(&f), 0);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static void test_bad_devices(void) {
        struct ctl_disk disk = { .place.id = 100, .name = "vda" };
        struct ctl_message reply;
        struct ctl_port port = { .place.id = 100, .name = "org.test" };
        struct fixture f;
        AUTOCLOSE int empty = memfd_create("empty", MFD_CLOEXEC);

        fixture_start(&f);
        CHECK_EQ(hello(&f), 0);
        CHECK_EQ(call_fd(&f, CTL_ADD_DISK, &disk, sizeof(disk), empty), -ENODATA);
        CHECK_EQ(call_fd(&f, CTL_ADD_DISK, &disk, sizeof(disk), f.client), -EINVAL);
        for (unsigned i = 0; i < CTL_DISKS_MAX; i++)
                CHECK_EQ(add_disk(&f), 0);
        CHECK_EQ(add_disk(&f), -E2BIG);
        CHECK_EQ(call_fds(&f, CTL_ADD_PORT, &port, sizeof(port), (int[]) { f.client, 2 }, 2, &reply), 0);
        port.place.id = 101;
        CHECK_EQ(call_fd(&f, CTL_ADD_PORT, &port, sizeof(port), f.client), -EEXIST);
        port.flags = CTL_PORT_CONSOLE;
        CHECK_EQ(call_fd(&f, CTL_ADD_PORT, &port, sizeof(port), f.client), -EINVAL);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static int add_port(struct fixture *f, const char *name) {
        struct ctl_port port = { .place.id = ++f->last_id, .flags = name ? 0 : CTL_PORT_CONSOLE };
        int fds[2], r;

        (void) snprintf(port.name, sizeof(port.name), "%s", name ?: "");
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        r = call_fd(f, CTL_ADD_PORT, &port, sizeof(port), fds[0]);
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        return r;
}

static int add_nic(struct fixture *f, struct ctl_message *reply) {
        struct ctl_nic nic = { .place.id = ++f->last_id, .name = "tap0" };
        AUTOCLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return call_fds(f, CTL_ADD_NIC, &nic, sizeof(nic), &fd, 1, reply);
}

static void eject_last_slot(void) {
        fake.callbacks.removed(fake.callbacks.arg, CTL_DEVICES_MAX);
}

/* Each kind within its limit, and all together more than the bus has slots. */
static void test_slots(void) {
        struct ctl_rng rng = { .place.id = 1000 };
        struct fixture f;
        struct ctl_message m;
        AUTOCLOSE int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(add_port(&f, NULL), 0);
        CHECK_EQ(add_port(&f, "org.test"), 0);
        for (unsigned i = 2; i < CTL_DEVICES_MAX - 5; i++)
                CHECK_EQ(add_disk(&f), 0);
        for (unsigned i = 0; i < 5; i++)
                CHECK_EQ(add_nic(&f, &m), 0);
        CHECK_EQ(add_nic(&f, &m), -E2BIG);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "interface 'tap0': already 30 PCI devices, the maximum");
        CHECK_EQ(add_disk(&f), -E2BIG);
        CHECK_EQ(call_fd(&f, CTL_ADD_RNG, &rng, sizeof(rng), zero), -E2BIG);
        CHECK_EQ(add_port(&f, "org.more"), 0);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(fake.n_devices, CTL_DEVICES_MAX);
        CHECK_EQ(add_nic(&f, &m), -E2BIG);
        on_control(eject_last_slot); /* the ports' */
        for (unsigned i = 0; i < 3; i++)
                expect_event(f.client, CTL_EVENT_REMOVED, &m);
        CHECK_EQ(add_nic(&f, &m), 0);
        CHECK_EQ(add_nic(&f, &m), -E2BIG);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static int add_disk_at(struct fixture *f, uint32_t id, uint8_t slot, struct ctl_message *reply) {
        struct ctl_disk disk = { .place = { .id = id, .slot = slot }, .name = "vdx" };
        AUTOCLOSE int fd = make_image();

        return call_fds(f, CTL_ADD_DISK, &disk, sizeof(disk), &fd, 1, reply);
}

/* Each device has an id and a slot of its own, whatever the order in which they come. */
static void test_places(void) {
        struct ctl_message m;
        const struct ctl_list_reply *list = (const struct ctl_list_reply *) m.data;
        struct ctl_list request = {};
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(add_disk_at(&f, 1, 0, &m), -EEXIST);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "disk 'vdx': another device has the id 1");
        CHECK_EQ(add_disk_at(&f, 70, 9, &m), 0);
        CHECK_EQ(add_disk_at(&f, 71, 9, &m), -EEXIST);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "disk 'vdx': another device is in PCI slot 9");
        CHECK_EQ(add_disk_at(&f, 40, 7, &m), 0);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(fake.slot_wanted[0], 9); /* those that know where come first */
        CHECK_EQ(fake.slot_wanted[1], 7);
        CHECK_EQ(fake.slot_wanted[2], 0);
        CHECK_EQ(call_fds(&f, CTL_LIST, &request, sizeof(request), NULL, 0, &m), 0);
        CHECK_EQ(list->n, 3);
        CHECK_EQ(list->more, 0);
        CHECK_EQ(list->entry[0].place.id, 1);
        CHECK_EQ(list->entry[0].place.slot, 3);
        CHECK_EQ(list->entry[1].place.id, 40);
        CHECK_EQ(list->entry[1].place.slot, 7);
        CHECK_EQ(list->entry[2].place.id, 70);
        CHECK_EQ(list->entry[2].type, CTL_ADD_DISK);
        request.after = 40;
        CHECK_EQ(call_fds(&f, CTL_LIST, &request, sizeof(request), NULL, 0, &m), 0);
        CHECK_EQ(list->n, 1);
        CHECK_EQ(list->entry[0].place.id, 70);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static int remove_device(struct fixture *f, uint32_t id, unsigned flags) {
        struct ctl_remove remove = { .id = id, .flags = flags };

        return call(f, CTL_REMOVE, &remove, sizeof(remove));
}

static void eject_slot_9(void) {
        fake.callbacks.removed(fake.callbacks.arg, 9);
}

/* A machine that runs: what is added is plugged or leaves nothing behind; what is removed is told when it is gone. */
static void test_hot_plug(void) {
        struct ctl_message m;
        const struct ctl_event_removed *removed = (const struct ctl_event_removed *) m.data;
        const struct ctl_list_reply *list = (const struct ctl_list_reply *) m.data;
        struct ctl_list request = {};
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(add_disk_at(&f, 70, 9, &m), 0);
        CHECK_EQ(fake.slot_wanted[1], 9);
        fake_plug_error = -ENOMEM;
        CHECK_EQ(add_disk_at(&f, 71, 10, &m), -ENOMEM);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "disk 'vdx': Cannot allocate memory");
        fake_plug_error = 0;
        CHECK_EQ(add_disk_at(&f, 71, 10, &m), 0); /* neither id nor slot was taken */

        CHECK_EQ(remove_device(&f, 99, 0), -ENODEV);
        CHECK_EQ(remove_device(&f, 70, 0), 0);
        CHECK_EQ(fake.unplugged_slot, 9);
        fake.unplugged_slot = 0;
        CHECK_EQ(remove_device(&f, 70, 0), 0); /* the guest is asked again, */
        CHECK_EQ(fake.unplugged_slot, 9);
        fake.leaving_slot = 9;
        CHECK_EQ(remove_device(&f, 70, 0), -EALREADY); /* until it has let go */
        CHECK_EQ(call_fds(&f, CTL_LIST, &request, sizeof(request), NULL, 0, &m), 0);
        CHECK_EQ(list->n, 3);
        CHECK_EQ(list->entry[1].place.id, 70);
        CHECK_EQ(list->entry[1].flags, CTL_LIST_LEAVING);
        CHECK_EQ(list->entry[2].flags, 0);
        fake.leaving_slot = 10; /* the guest has given it away unasked */
        CHECK_EQ(call_fds(&f, CTL_LIST, &request, sizeof(request), NULL, 0, &m), 0);
        CHECK_EQ(list->entry[2].flags, CTL_LIST_LEAVING);
        fake.leaving_slot = 0;
        on_control(eject_slot_9);
        expect_event(f.client, CTL_EVENT_REMOVED, &m);
        CHECK_EQ(removed->id, 70);
        CHECK_EQ(remove_device(&f, 70, 0), -ENODEV);
        CHECK_EQ(add_disk_at(&f, 70, 9, &m), -EEXIST); /* an id means one device for ever */
        CHECK_STR(((struct ctl_reply *) m.data)->text, "disk 'vdx': the id 70 is not above 71, which was in use");
        CHECK_EQ(add_disk_at(&f, 72, 9, &m), 0);

        /* By force it may be gone before the reply. */
        CHECK_EQ(remove_device(&f, 71, CTL_REMOVE_FORCE), 0);
        CHECK_EQ(remove_device(&f, 71, CTL_REMOVE_FORCE), -ENODEV);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

/* The only disk, whose image the test has. */
static int image_fd;

/* The guest reads from an image that has become empty, which is an error. */
static void read_nothing(struct driver *driver, struct ring *ring) {
        const struct segment segments[] = { { DATA_START, 16 }, { DATA_START + 512, 512 }, { DATA_START + 16, 1 } };

        CHECK_EQ(ftruncate(image_fd, 0), 0);
        driver_init(driver, fake.devices[0]);
        driver_activate(driver, ~0ull);
        ring_init(ring, driver, 0, 16);
        (void) ring_add(ring, segments, 1, 2); /* a header of zeroes: read sector 0 */
        ring_do_kick(ring);
}

static void fail_and_wait(void) {
        static struct driver driver;
        static struct ring ring;

        read_nothing(&driver, &ring);
}

static void fail_and_reset(void) {
        struct driver driver;
        struct ring ring;

        read_nothing(&driver, &ring);
        driver_reset(&driver);
        guest_mem_free(driver.mem);
}

static void fail_and_leave(void) {
        fail_and_reset();
        fake.callbacks.removed(fake.callbacks.arg, 1);
}

static void expect_io_error(const struct fixture *f, enum ctl_error_policy policy) {
        struct ctl_message m;
        const struct ctl_event_io_error *event = (const struct ctl_event_io_error *) m.data;

        expect_event(f->client, CTL_EVENT_IO_ERROR, &m);
        CHECK_EQ(event->id, 1);
        CHECK_EQ(event->error, -ENODATA);
        CHECK_EQ(event->policy, policy);
}

/* The guest is paused for an error, but not when the driver has gone that waits for it; a disk's last error is told. */
static void test_errors(void) {
        static void (*const orders[])(void) = { fail_and_wait, fail_and_reset, fail_and_leave };

        for (unsigned i = 0; i < ARRAY_SIZE(orders); i++) {
                struct ctl_disk disk = { .place = { .id = 1 }, .rerror_policy = CTL_ERROR_STOP, .name = "vda" };
                struct ctl_message m;
                struct fixture f;
                int fd;

                fixture_start(&f);
                image_fd = make_image();
                CHECK_EQ(hello(&f), 0);
                CHECK_EQ(set_machine(&f), 0);
                fd = make_image();
                CHECK_EQ(call_fd(&f, CTL_SET_KERNEL, &(struct ctl_file) { .name = "kernel" }, sizeof(struct ctl_file),
                                 fd),
                         0);
                close_fd(&fd);
                fd = dup(image_fd);
                CHECK_EQ(call_fd(&f, CTL_ADD_DISK, &disk, sizeof(disk), fd), 0);
                close_fd(&fd);
                CHECK_EQ(start(&f, 0), 0);
                on_control(orders[i]);
                expect_io_error(&f, i == 0 ? CTL_ERROR_STOP : CTL_ERROR_REPORT);
                if (i == 0)
                        expect_state(f.client, CTL_STATE_PAUSED, CTL_REASON_IO_ERROR);
                if (i == 2)
                        expect_event(f.client, CTL_EVENT_REMOVED, &m);
                CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
                CHECK_EQ(fixture_end(&f), 0);
                close_fd(&image_fd);
        }
}

static void test_failed_start(void) {
        struct fixture f;
        struct ctl_message m;
        struct ctl_start request = {};

        fixture_start(&f);
        set_up(&f);
        fake_start_error = -ENOEXEC;
        CHECK_EQ(call_fds(&f, CTL_START, &request, sizeof(request), NULL, 0, &m), -ENOEXEC);
        CHECK_STR(((struct ctl_reply *) m.data)->text, "the kernel is a sandwich");
        CHECK_EQ(start(&f, 0), -EINVAL);
        CHECK_EQ(call_plain(&f, CTL_PAUSE), -EINVAL);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);

        fixture_start(&f);
        set_up(&f);
        fake_new_error = -ENOMEM;
        CHECK_EQ(start(&f, 0), -ENOMEM);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static void test_peer_leaves(void) {
        struct ctl_start request = {};
        struct fixture f;
        int old;

        /* Before START nobody else could finish the job. */
        fixture_start(&f);
        set_up(&f);
        close_fd(&f.client);
        CHECK_EQ(fixture_end(&f), -ECONNRESET);

        /* The same when its leaving is noticed only by the answer to it. */
        fixture_start(&f);
        set_up(&f);
        fake_start_error = -ENOEXEC;
        ctl_header_init(&request.header, CTL_START, ++f.serial, sizeof(request));
        CHECK_EQ(ctl_send(f.client, &request, NULL, 0), 0);
        close_fd(&f.client);
        CHECK_EQ(fixture_end(&f), -ECONNRESET);

        /* Replacing a peer by another does not count as losing it. */
        fixture_start(&f);
        CHECK_EQ(hello(&f), 0);
        old = f.client;
        f.client = client_connect(&f);
        set_up(&f);
        close_fd(&old);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);

        /* After START it does not matter, and a new peer replaces the old one. */
        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        close_fd(&f.client);
        f.client = client_connect(&f);
        CHECK_EQ(call_plain(&f, CTL_QUERY), -EINVAL);
        CHECK_EQ(hello(&f), 0);
        old = f.client;
        f.client = client_connect(&f);
        CHECK_EQ(hello(&f), 0);
        struct pollfd pfd = { .fd = old, .events = POLLIN };
        CHECK(poll(&pfd, 1, 10000) == 1);
        struct ctl_message m;
        CHECK_EQ(ctl_receive(old, &m), 0);
        close_fd(&old);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static void test_malformed(void) {
        struct fixture f;
        struct ctl_header header;
        struct ctl_message m;
        uint8_t junk[64] = { 1 };

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        /* With a header it is answered, */
        ctl_header_init(&header, CTL_ADD_DISK, 5, sizeof(header));
        CHECK_EQ(ctl_send(f.client, &header, (int[]) { 2, 2 }, 2), 0);
        receive(f.client, &m);
        while (m.header.type == CTL_EVENT_STATE)
                receive(f.client, &m);
        CHECK_EQ(m.header.serial, 5);
        CHECK_EQ(((struct ctl_reply *) m.data)->error, -EBADMSG);
        /* without one the peer is dropped, and the guest lives on. */
        CHECK(send(f.client, junk, sizeof(junk), 0) == sizeof(junk));
        struct pollfd pfd = { .fd = f.client, .events = POLLIN };
        CHECK(poll(&pfd, 1, 10000) == 1);
        CHECK_EQ(ctl_receive(f.client, &m), 0);
        close_fd(&f.client);
        f.client = client_connect(&f);
        CHECK_EQ(hello(&f), 0);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static int set_actions(struct fixture *f, enum ctl_action on_poweroff) {
        struct ctl_actions actions = { .on_poweroff = on_poweroff };

        return call(f, CTL_SET_ACTIONS, &actions, sizeof(actions));
}

/* Once the guest is asked to stop, no setting of its actions, earlier or later, starts it again. */
static void test_sigterm(void) {
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        CHECK_EQ(set_actions(&f, CTL_ACTION_RESTART), 0);
        CHECK_EQ(fake.action, CTL_ACTION_RESTART);
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
        while (fake.buttons == 0)
                (void) usleep(1000);
        CHECK_EQ(fake.action, CTL_ACTION_DESTROY);
        CHECK_EQ(set_actions(&f, CTL_ACTION_RESTART), 0);
        CHECK_EQ(fake.action, CTL_ACTION_DESTROY);
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL);
        CHECK_EQ(fixture_end(&f), 0);
}

static void test_sigterm_paused(void) {
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, CTL_START_PAUSED), 0);
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL);
        fixture_join(&f);
        check_exit_record(&f, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL, 0);
        CHECK_EQ(fake.buttons, 0);
        CHECK_EQ(fixture_close(&f), 0);
}

/* Both are ready when the loop looks next, in this order. */
static void end_and_stop(void) {
        on_control(power_off);
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
}

/* A SIGTERM that coincides with the guest's end changes nothing. */
static void test_sigterm_at_the_end(void) {
        struct fixture f;
        struct ctl_message m;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        on_control(end_and_stop);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
        fixture_join(&f);
        CHECK_EQ(ctl_receive(f.client, &m), 0);
        check_exit_record(&f, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST, 0);
        CHECK_EQ(fixture_close(&f), 0);
}

/* Signals of machinectl press buttons and end nothing, however many arrive. */
static void test_buttons(void) {
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        for (unsigned i = 1; i <= 2; i++) {
                CHECK_EQ(kill(getpid(), SIGINT), 0);
                while (fake.reboot_buttons < i)
                        (void) usleep(1000);
                CHECK_EQ(kill(getpid(), SIGRTMIN + 4), 0);
                while (fake.buttons < i)
                        (void) usleep(1000);
        }
        CHECK_EQ(call_plain(&f, CTL_QUERY), 0);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
        CHECK_EQ(fake.buttons, 2);
}

static void paused_at_last(void) {
        fake.pausing = false;
        fake_state(CTL_STATE_PAUSED, CTL_REASON_REQUEST);
        fake.callbacks.finished(fake.callbacks.arg, VM_PAUSE, 0);
}

static void reset_at_last(void) {
        fake.callbacks.was_reset(fake.callbacks.arg);
        fake.callbacks.finished(fake.callbacks.arg, VM_RESET, 0);
}

static void send_plain(const struct fixture *f, uint16_t type, uint32_t serial) {
        struct ctl_header header;

        ctl_header_init(&header, type, serial, sizeof(header));
        CHECK_EQ(ctl_send(f->client, &header, NULL, 0), 0);
}

static void expect_reply(const struct fixture *f, uint16_t type, uint32_t serial, int error) {
        struct ctl_message m;

        receive(f->client, &m);
        CHECK_EQ(m.header.type, type | CTL_REPLY);
        CHECK_EQ(m.header.serial, serial);
        CHECK_EQ(((struct ctl_reply *) m.data)->error, error);
        CHECK((error == 0) == !((struct ctl_reply *) m.data)->text[0]);
}

/* Requests that wait for storage are answered when they are done; all others at once, QUIT included. */
static void test_slow_storage(void) {
        struct ctl_stats stats = {};
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        fake.slow = true;
        send_plain(&f, CTL_PAUSE, 1000);
        CHECK_EQ(call_plain(&f, CTL_QUERY), 0);
        send_plain(&f, CTL_RESET, 1001);
        send_plain(&f, CTL_PAUSE, 1002);
        CHECK_EQ(call(&f, CTL_STATS, &stats, sizeof(stats)), 0);
        on_control(paused_at_last);
        expect_state(f.client, CTL_STATE_PAUSED, CTL_REASON_REQUEST);
        expect_reply(&f, CTL_PAUSE, 1000, 0);
        expect_reply(&f, CTL_PAUSE, 1002, 0);
        on_control(reset_at_last);
        expect_event(f.client, CTL_EVENT_RESET, &(struct ctl_message) {});
        expect_reply(&f, CTL_RESET, 1001, 0);

        /* A resume on the way there; and no more than there is room for. */
        for (uint32_t i = 0; i < 8; i++)
                send_plain(&f, CTL_PAUSE, 2000 + i);
        send_plain(&f, CTL_PAUSE, 2008);
        expect_reply(&f, CTL_PAUSE, 2008, -EBUSY);
        on_control(paused_at_last);
        expect_state(f.client, CTL_STATE_PAUSED, CTL_REASON_REQUEST);
        for (uint32_t i = 0; i < 8; i++)
                expect_reply(&f, CTL_PAUSE, 2000 + i, 0);
        send_plain(&f, CTL_PAUSE, 3000);
        send_plain(&f, CTL_RESUME, 3001);
        expect_reply(&f, CTL_PAUSE, 3000, -ECANCELED);
        expect_state(f.client, CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        expect_reply(&f, CTL_RESUME, 3001, 0);

        /*
         * A peer is not sent the answers that the one before it was owed. SIGTERM ends a guest that has no button to
         * press.
         */
        send_plain(&f, CTL_PAUSE, 4000);
        CHECK_EQ(call_plain(&f, CTL_QUERY), 0);
        close_fd(&f.client);
        f.client = client_connect(&f);
        CHECK_EQ(hello(&f), 0);
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
        expect_state(f.client, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL);
        CHECK_EQ(fixture_end(&f), 0);
}

static void expect_port(const struct fixture *f, uint32_t port, bool open) {
        struct ctl_message m;
        const struct ctl_event_port *event = (const struct ctl_event_port *) m.data;

        expect_event(f->client, CTL_EVENT_PORT, &m);
        CHECK_EQ(event->id, port);
        CHECK_EQ(event->open, open);
}

/* The next peer is told what the guest did with its ports while there was none. */
static void test_ports_are_told_again(void) {
        struct virtio_device *console;
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(add_port(&f, NULL), 0);
        CHECK_EQ(add_port(&f, "org.test"), 0);
        CHECK_EQ(start(&f, 0), 0);
        console = fake.devices[fake.n_devices - 1];
        CHECK_EQ(console->ops->activate(console), 0); /* without MULTIPORT: port 0 is open */
        expect_port(&f, 2, true);
        close_fd(&f.client);
        console->ops->reset(console);
        (void) usleep(200000); /* collected, and told to nobody */
        f.client = client_connect(&f);
        CHECK_EQ(hello(&f), 0);
        expect_port(&f, 2, false);
        expect_port(&f, 3, false);
        console->ops->activate(console);
        expect_port(&f, 2, true); /* and no other */
        console->ops->reset(console);
        expect_port(&f, 2, false);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static unsigned count_lines(int fd, const char *text) {
        static char log[65536];
        ssize_t n = pread(fd, log, sizeof(log) - 1, 0);
        unsigned count = 0;

        CHECK(n >= 0);
        log[n] = 0;
        for (const char *p = log; (p = strstr(p, text)); p++)
                count++;
        return count;
}

/* A guest decides how often it restarts: the daemon is told each time, the journal at a limited rate. */
static void test_restarts_in_the_log(void) {
        AUTOCLOSE int log = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
        struct fixture f;

        fixture_start(&f);
        set_up(&f);
        CHECK_EQ(start(&f, 0), 0);
        CHECK(dup2(log, STDERR_FILENO) == STDERR_FILENO);
        for (unsigned i = 0; i < 100; i++)
                CHECK_EQ(call_plain(&f, CTL_RESET), 0);
        CHECK(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
        CHECK_EQ(count_lines(log, "guest restarted"), LOG_GUEST_BURST);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

static unsigned count_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* No descriptor of a refused message stays open. */
static void test_descriptors(void) {
        struct ctl_disk disk = { .place.id = 1, .name = "vda" };
        struct fixture f;
        unsigned before;

        fixture_start(&f);
        CHECK_EQ(hello(&f), 0);
        before = count_fds();
        for (unsigned i = 0; i < 50; i++)
                CHECK_EQ(call_fd(&f, CTL_ADD_DISK, &disk, sizeof(disk), f.client), -EINVAL);
        CHECK_EQ(count_fds(), before);
        CHECK_EQ(call_plain(&f, CTL_QUIT), 0);
        CHECK_EQ(fixture_end(&f), 0);
}

int main(void) {
        sigset_t mask;

        CHECK(sigemptyset(&mask) == 0 && sigaddset(&mask, SIGTERM) == 0);
        CHECK(sigaddset(&mask, SIGINT) == 0 && sigaddset(&mask, SIGRTMIN + 4) == 0);
        CHECK(pthread_sigmask(SIG_BLOCK, &mask, NULL) == 0);
        RUN(test_life);
        RUN(test_preserve_and_quit);
        RUN(test_order);
        RUN(test_versions);
        RUN(test_daemon_of_promised_version);
        RUN(test_other_daemons);
        RUN(test_bad_machines);
        RUN(test_bad_devices);
        RUN(test_slots);
        RUN(test_places);
        RUN(test_hot_plug);
        RUN(test_errors);
        RUN(test_failed_start);
        RUN(test_peer_leaves);
        RUN(test_malformed);
        RUN(test_sigterm);
        RUN(test_sigterm_paused);
        RUN(test_sigterm_at_the_end);
        RUN(test_buttons);
        RUN(test_slow_storage);
        RUN(test_ports_are_told_again);
        RUN(test_restarts_in_the_log);
        RUN(test_descriptors);
        return 0;
}
