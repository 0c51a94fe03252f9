/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtmicro-vmm: one virtual machine in one process. It runs in one of two ways:
 *
 *   by virtmicrod  with a control socket and nothing else; see ctl/server.c
 *   by hand        it opens what the command line names, locks itself in, and has the
 *                  guest's console on standard input and output
 *
 * Either way the order is: open, sandbox_enter(), seccomp_enter(), and only then create
 * the machine. All errors are reported here, one line each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <malloc.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/seccomp.h"
#include "board/devices.h"
#include "board/version.h"
#include "board/vm.h"
#include "core/loop.h"
#include "ctl/message.h"
#include "ctl/server.h"
#include "dev/vsock.h"
#include "options.h"
#include "terminal.h"

/* A machine run by hand. */
struct run {
        const struct options *options;
        struct loop *loop;
        struct terminal *terminal;
        struct vm *vm;
        struct vm_config config;
        int status; /* exit status */
        int signal_fd, terminal_fd, console_fd, rng_fd, vsock_fd, log_fd;
        int disk_fd[CTL_DISKS_MAX];
        int nic_fd[CTL_NICS_MAX][2]; /* the TAP, and /dev/vhost-net if it is used */
        uint8_t mac[CTL_NICS_MAX][6];
        struct devices devices;
        uint32_t last_id;
};

static int enter_thread(void *role) {
        return seccomp_enter(role);
}

static const struct vm_confinement confinement = { .enter_thread = enter_thread, .limit_files = sandbox_limit_files };

static int lock_in(const struct options *options, const int *fds, unsigned n_fds) {
        const struct thread_role control = { .kind = THREAD_CONTROL };
        struct sandbox_config config = {
                .uid = options->has_uid ? options->uid : SANDBOX_UID_NOBODY,
                .gid = options->has_uid ? options->uid : SANDBOX_UID_NOBODY,
                .fds = fds,
                .n_fds = n_fds,
        };
        const char *step = "";
        bool confined;
        int r;

        r = sandbox_enter(&config, &confined, &step);
        if (r < 0) {
                log_error(r, "cannot lock itself in: %s", step);
                return r;
        }
        if (!confined)
                log_warningx("this user may not make namespaces: the monitor still sees the host's files");
        r = seccomp_enter(&control);
        if (r < 0)
                log_error(r, "cannot install the system call filter");
        return r;
}

static void use_journal(const struct options *options) {
        char name[CTL_NAME_MAX + 32], uuid[64], machine[CTL_NAME_MAX + 32];
        const char *fields[] = { "SYSLOG_IDENTIFIER=virtmicro-vmm", name, uuid, machine };
        unsigned n = 3;

        if (options->journal_fd < 0)
                return;
        (void) snprintf(name, sizeof(name), "LIBVIRT_DOMAIN=%s", options->name ?: "");
        (void) snprintf(uuid, sizeof(uuid), "DOMAIN_UUID=%s", options->uuid ?: "");
        if (options->machine_name)
                (void) snprintf(machine, sizeof(machine), "MACHINE=%s", options->machine_name), n++;
        log_to_journal(options->journal_fd, fields, n);
}

static int run_by_daemon(const struct options *options) {
        struct ctl_server_config config = {
                .listen_fd = options->control_fd,
                .confinement = &confinement,
        };
        int fds[] = { options->control_fd, options->journal_fd };

        use_journal(options);
        if (lock_in(options, fds, options->journal_fd >= 0 ? 2 : 1) < 0)
                return 1;
        return ctl_server_run(&config) < 0 ? 1 : 0;
}

static int open_file(const char *path, int flags, const char *what, int *ret) {
        int fd = open(path, flags | O_CLOEXEC | O_NOCTTY);

        if (fd < 0) {
                int r = -errno;
                log_error(r, "cannot open %s '%s'", what, path);
                return r;
        }
        *ret = fd;
        return 0;
}

static int open_log(const char *path, int *ret) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd < 0) {
                int r = -errno;
                log_error(r, "cannot open the console's log '%s'", path);
                return r;
        }
        *ret = fd;
        return 0;
}

static int open_kvm(int *ret) {
        int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        if (fd < 0) {
                int r = -errno;
                log_error(r, "cannot open /dev/kvm (is the kvm module loaded, and are you in the group kvm?)");
                return r;
        }
        *ret = fd;
        return 0;
}

static int open_tap(const char *name, int *ret) {
        AUTOCLOSE int fd = -EBADF;
        struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int r;

        if (strlen(name) >= sizeof(request.ifr_name)) {
                log_errorx("'%s' is too long for the name of an interface", name);
                return -EINVAL;
        }
        /* A privileged caller would create a new TAP, connected to nothing. */
        if (if_nametoindex(name) == 0) {
                log_errorx("there is no interface '%s' (ip tuntap add %s mode tap makes one)", name, name);
                return -ENODEV;
        }
        r = open_file("/dev/net/tun", O_RDWR, "the TUN driver", &fd);
        if (r < 0)
                return r;
        memcpy(request.ifr_name, name, strlen(name));
        if (ioctl(fd, TUNSETIFF, &request) < 0) {
                r = -errno;
                log_error(r, "cannot attach to interface '%s' (is it a TAP, and yours?)", name);
                return r;
        }
        *ret = take_fd(&fd);
        return 0;
}

/* A locally administered address in the range that KVM guests use. */
static void choose_mac(const struct option_net *net, uint8_t mac[6]) {
        static const uint8_t prefix[] = { 0x52, 0x54, 0x00 };

        memcpy(mac, net->mac, 6);
        if (net->has_mac)
                return;
        memcpy(mac, prefix, sizeof(prefix));
        if (getrandom(mac + 3, 3, 0) != 3)
                mac[5] = 1;
}

static int open_disks(struct run *run) {
        const struct options *o = run->options;
        int r = 0;

        for (unsigned i = 0; i < o->n_disks && r >= 0; i++)
                r = open_file(o->disk[i].path,
                              (o->disk[i].readonly ? O_RDONLY : O_RDWR) | (o->disk[i].direct ? O_DIRECT : 0), "disk",
                              &run->disk_fd[i]);
        return r;
}

static int open_nets(struct run *run) {
        const struct options *o = run->options;
        int r;

        for (unsigned i = 0; i < o->n_nets; i++) {
                r = open_tap(o->net[i].tap, &run->nic_fd[i][0]);
                if (r < 0)
                        return r;
                /* Only an accelerator: the device works without it. */
                if (!o->net[i].no_vhost)
                        run->nic_fd[i][1] = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
                choose_mac(&o->net[i], run->mac[i]);
        }
        return 0;
}

static int open_vsock(struct run *run) {
        int r = open_file("/dev/vhost-vsock", O_RDWR, "socket device", &run->vsock_fd);

        if (r >= 0)
                r = vsock_claim(run->vsock_fd, run->options->cid);
        if (r < 0 && run->vsock_fd >= 0)
                log_error(r, "cannot give the guest the CID %u%s", run->options->cid,
                          r == -EADDRINUSE ? ", which another guest of this host has" : "");
        return r;
}

static int open_all(struct run *run) {
        const struct options *o = run->options;
        int r;

        r = open_kvm(&run->config.kvm_fd);
        if (r >= 0)
                r = open_file(o->kernel, O_RDONLY, "kernel", &run->config.kernel_fd);
        if (r >= 0 && o->initrd)
                r = open_file(o->initrd, O_RDONLY, "initrd", &run->config.initrd_fd);
        if (r >= 0)
                r = open_disks(run);
        if (r >= 0)
                r = open_nets(run);
        if (r >= 0)
                r = terminal_pair(&run->terminal_fd, &run->console_fd);
        if (r >= 0 && o->rng)
                r = open_file("/dev/urandom", O_RDONLY, "entropy source", &run->rng_fd);
        if (r >= 0 && o->cid)
                r = open_vsock(run);
        if (r >= 0 && o->console_log)
                r = open_log(o->console_log, &run->log_fd);
        return r;
}

static int lock_run_in(const struct run *run) {
        int fds[SANDBOX_FDS_MAX];
        unsigned n = 0;

        fds[n++] = run->config.kvm_fd;
        fds[n++] = run->config.kernel_fd;
        fds[n++] = run->terminal_fd;
        fds[n++] = run->console_fd;
        if (run->config.initrd_fd >= 0)
                fds[n++] = run->config.initrd_fd;
        if (run->rng_fd >= 0)
                fds[n++] = run->rng_fd;
        if (run->vsock_fd >= 0)
                fds[n++] = run->vsock_fd;
        if (run->log_fd >= 0)
                fds[n++] = run->log_fd;
        for (unsigned i = 0; i < run->options->n_disks; i++)
                fds[n++] = run->disk_fd[i];
        for (unsigned i = 0; i < run->options->n_nets; i++) {
                fds[n++] = run->nic_fd[i][0];
                if (run->nic_fd[i][1] >= 0)
                        fds[n++] = run->nic_fd[i][1];
        }
        return lock_in(run->options, fds, n);
}

static void on_quit(void *arg) {
        struct run *run = arg;

        run->status = 1;
        loop_stop(run->loop);
}

static void on_signal(void *arg, uint32_t events) {
        on_quit(arg);
}

static void on_state(void *arg, enum ctl_state state, enum ctl_reason reason) {
        struct run *run = arg;

        if (state != CTL_STATE_SHUTDOWN && state != CTL_STATE_CRASHED)
                return;
        if (state == CTL_STATE_CRASHED)
                log_errorx("the guest crashed: %s",
                           reason == CTL_REASON_PANIC ? "its kernel panicked" : "a vCPU cannot go on");
        run->status = state == CTL_STATE_SHUTDOWN ? 0 : 1;
        loop_stop(run->loop);
}

static int watch_signals(struct run *run) {
        sigset_t mask;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        run->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (run->signal_fd < 0)
                return -errno;
        return loop_add_fd(run->loop, run->signal_fd, EPOLLIN, on_signal, run, NULL);
}

/* Sets up the loop, signals, and the descriptor of whichever device is the console. */
static int open_terminal(struct run *run) {
        int r;

        r = loop_new("control", &run->loop);
        if (r >= 0)
                r = watch_signals(run);
        if (r >= 0)
                r = terminal_new(run->loop, run->terminal_fd, on_quit, run, &run->terminal);
        if (r < 0) {
                log_error(r, "cannot use standard input and output as a console");
                return r;
        }
        if (!run->options->virtio_console) {
                run->config.serial_fd = take_fd(&run->console_fd);
                run->config.serial_log_fd = take_fd(&run->log_fd);
        }
        return 0;
}

/* As the daemon would ask for it. The user has named it `what` `name`. */
static int add_device(struct run *run, uint16_t type, struct ctl_header *message, size_t size, int *fds, unsigned n_fds,
                      const char *what, const char *name) {
        char text[CTL_TEXT_MAX];
        int r;

        ctl_header_init(message, type, 0, size);
        r = devices_add(&run->devices, message, fds, n_fds, text);
        if (r < 0)
                log_errorx("cannot use %s '%s': %s", what, name, text);
        return r;
}

static int make_disk(struct run *run, unsigned i) {
        const struct option_disk *disk = &run->options->disk[i];
        struct ctl_disk m = {
                .place.id = ++run->last_id,
                .flags = (disk->readonly ? CTL_DISK_READONLY : 0) | (disk->discard ? CTL_DISK_DISCARD : 0),
                .cache = disk->cache,
                .name = { 'v', 'd', (char) ('a' + i) },
        };

        (void) snprintf(m.serial, sizeof(m.serial), "%s", disk->serial ?: "");
        return add_device(run, CTL_ADD_DISK, &m.header, sizeof(m), &run->disk_fd[i], 1, "disk", disk->path);
}

static int make_net(struct run *run, unsigned i) {
        const struct option_net *net = &run->options->net[i];
        struct ctl_nic m = { .place.id = ++run->last_id, .mtu = net->mtu };

        memcpy(m.mac, run->mac[i], sizeof(m.mac));
        (void) snprintf(m.name, sizeof(m.name), "%s", net->tap);
        return add_device(run, CTL_ADD_NIC, &m.header, sizeof(m), run->nic_fd[i], run->nic_fd[i][1] >= 0 ? 2 : 1,
                          "TAP interface", net->tap);
}

static int make_rng(struct run *run) {
        struct ctl_rng m = { .place.id = ++run->last_id };

        return add_device(run, CTL_ADD_RNG, &m.header, sizeof(m), &run->rng_fd, 1, "entropy source", "/dev/urandom");
}

static int make_vsock(struct run *run) {
        struct ctl_vsock m = { .place.id = ++run->last_id, .cid = run->options->cid };

        return add_device(run, CTL_ADD_VSOCK, &m.header, sizeof(m), &run->vsock_fd, 1, "socket device",
                          "/dev/vhost-vsock");
}

static int make_console(struct run *run) {
        struct ctl_port m = { .place.id = ++run->last_id, .flags = CTL_PORT_CONSOLE };
        int fds[] = { run->console_fd, run->log_fd };
        int r = add_device(run, CTL_ADD_PORT, &m.header, sizeof(m), fds, run->log_fd >= 0 ? 2 : 1, "console",
                           "standard output");

        if (r == 0)
                run->console_fd = run->log_fd = -EBADF;
        return r;
}

static int make_devices(struct run *run) {
        int r = 0;

        if (run->options->virtio_console)
                r = make_console(run);
        for (unsigned i = 0; i < run->options->n_disks && r >= 0; i++)
                r = make_disk(run, i);
        for (unsigned i = 0; i < run->options->n_nets && r >= 0; i++)
                r = make_net(run, i);
        if (run->options->rng && r >= 0)
                r = make_rng(run);
        if (run->options->cid && r >= 0)
                r = make_vsock(run);
        return r;
}

static int choose_version(const struct options *o, struct vm_config *config) {
        char known[OPTIONS_TEXT_MAX];

        if (!o->machine)
                return 0;
        config->version = machine_version_named(o->machine);
        if (config->version)
                return 0;
        machine_version_list(known, sizeof(known));
        log_errorx("--machine: no version '%s'; there are: %s; micro is the newest", o->machine, known);
        return -EINVAL;
}

static void fill_config(struct run *run) {
        const struct options *o = run->options;
        struct vm_config *config = &run->config;

        config->memory = o->memory;
        config->vcpus = config->cores = o->cpus;
        config->on_reboot = o->no_reboot ? CTL_ACTION_DESTROY : CTL_ACTION_RESTART;
        (void) snprintf(config->cmdline, sizeof(config->cmdline), "%s",
                        o->cmdline
                                ?: o->virtio_console ? "console=hvc0"
                                                     : "console=ttyS0");
}

static int make_machine(struct run *run) {
        struct vm_callbacks callbacks = { .state_changed = on_state, .arg = run, .confinement = &confinement };
        char why[CTL_TEXT_MAX];
        const char *text = "";
        int r;

        fill_config(run);
        r = vm_new(&run->config, &callbacks, run->loop, &run->vm, &text);
        if (r < 0) {
                log_error(r, "cannot make the machine: %s", text);
                return r;
        }
        r = devices_join(&run->devices, run->vm, why);
        if (r < 0) {
                log_errorx("cannot make the machine: %s", why);
                return r;
        }
        r = vm_start(run->vm, false, &text);
        if (r < 0)
                log_error(r, "cannot start the machine: %s", text);
        return r;
}

static void run_init(struct run *run, const struct options *options) {
        *run = (struct run) { .options = options,
                              .status = 1,
                              .signal_fd = -EBADF,
                              .terminal_fd = -EBADF,
                              .console_fd = -EBADF,
                              .rng_fd = -EBADF,
                              .vsock_fd = -EBADF,
                              .log_fd = -EBADF };
        vm_config_init(&run->config);
        devices_init(&run->devices, NULL, NULL);
        for (unsigned i = 0; i < CTL_DISKS_MAX; i++)
                run->disk_fd[i] = -EBADF;
        for (unsigned i = 0; i < CTL_NICS_MAX; i++)
                run->nic_fd[i][0] = run->nic_fd[i][1] = -EBADF;
}

/* The process is about to exit, which closes the remaining descriptors. */
static void run_done(struct run *run) {
        vm_free(run->vm);
        devices_done(&run->devices);
        terminal_free(run->terminal);
        loop_free(run->loop);
        vm_config_done(&run->config);
}

static int run_by_hand(const struct options *options) {
        struct run run;
        int r;

        run_init(&run, options);
        r = choose_version(options, &run.config);
        if (r >= 0)
                r = open_all(&run);
        if (r >= 0)
                r = lock_run_in(&run);
        if (r >= 0)
                r = open_terminal(&run);
        if (r >= 0)
                r = make_devices(&run);
        if (r >= 0)
                r = make_machine(&run);
        if (r >= 0)
                r = loop_run(run.loop);
        run_done(&run);
        return r < 0 ? 1 : run.status;
}

int main(int argc, char **argv) {
        char text[OPTIONS_TEXT_MAX];
        struct options options;

        log_set_level(LOG_LEVEL_INFO);
        /* Threads hardly allocate: an arena per thread would waste memory. */
        (void) mallopt(M_ARENA_MAX, 1);
        if (options_parse(&options, argc, argv, text) < 0) {
                log_errorx("%s", text);
                return 1;
        }
        if (options.help) {
                (void) fputs(options_help, stdout);
                return 0;
        }
        if (options.version) {
                (void) puts("virtmicro-vmm " VIRTMICRO_VERSION);
                return 0;
        }
        if (options.control_fd >= 0)
                return run_by_daemon(&options);
        return run_by_hand(&options);
}
