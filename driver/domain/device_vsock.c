/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket device: a domain has one, or none. Its CID is the host's to give, to one guest at a time: the kernel knows
 * which are in use, by guests of whatever hypervisor, so that a free one is found by trying. It is taken with the
 * descriptor that the monitor gets, and free again when that is closed; nothing has to be given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include "conf/vmm_config.h"
#include "domain/plug.h"
#include "util/error.h"

#define CIDS_TRIED_MAX 65536u /* more than a host has guests */

static gboolean vsock_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        if (!def->vsock)
                return TRUE;
        return error_set(err, taken, "the domain already has a vsock device");
}

static gpointer vsock_insert(DomainDef *def, const DomainDevice *device) {
        g_autoptr(DomainDef) copy = domain_def_copy(device->def);
        domain_def_set_vsock(def, g_steal_pointer(&copy->vsock));
        return def->vsock;
}

/* Which CID was chosen makes no difference. */
static gboolean vsock_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        const DomainVsock *vsock = def->vsock, *wanted = device->def->vsock;
        *ret_index = 0;
        if (vsock && vsock->auto_cid == wanted->auto_cid && (vsock->auto_cid || vsock->cid == wanted->cid) &&
            (!wanted->alias || g_strcmp0(vsock->alias, wanted->alias) == 0) &&
            domain_pci_matches(&vsock->pci, &wanted->pci))
                return TRUE;
        return error_set(err, VIR_ERR_DEVICE_MISSING, "matching vsock device not found");
}

static gboolean vsock_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        *ret_index = 0;
        return def->vsock && g_strcmp0(def->vsock->alias, alias) == 0;
}

static gpointer vsock_at(const DomainDef *def, guint index) {
        return def->vsock;
}

static char *vsock_name(gconstpointer device) {
        return g_strdup("vsock");
}

static void vsock_remove(DomainDef *def, guint index) {
        domain_def_set_vsock(def, NULL);
}

/* --- In a monitor ------------------------------------------------------------------------ */

static void vsock_list(const DomainDef *def, GPtrArray *ret) {
        if (def->vsock)
                g_ptr_array_add(ret, def->vsock);
}

static const char *vsock_alias(gconstpointer device) {
        const DomainVsock *vsock = device;
        return vsock->alias;
}

static int claim(int fd, guint32 cid) {
        guint64 wide = cid;
        return ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &wide) < 0 ? errno : 0;
}

static gboolean choose_cid(int fd, DomainVsock *vsock, GError **err) {
        int error = EADDRINUSE;
        for (guint32 cid = CTL_CID_MIN; error == EADDRINUSE && cid < CTL_CID_MIN + CIDS_TRIED_MAX; cid++) {
                error = claim(fd, cid);
                vsock->cid = cid;
        }
        return error == 0 || error_set_errno(err, error, "failed to acquire guest cid");
}

static gboolean give_cid(int fd, DomainVsock *vsock, GError **err) {
        if (vsock->auto_cid)
                return choose_cid(fd, vsock, err);
        if (vsock->cid == 0)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "the vsock device has no CID: write <cid auto='yes'/> or an address");
        int error = claim(fd, vsock->cid);
        return error == 0 || error_set_errno(err, error, "failed to set guest cid %u%s", vsock->cid,
                                             error == EADDRINUSE ? ", another guest of this host has it" : "");
}

static gboolean vsock_open(Plug *plug, const PlugHost *host, GError **err) {
        plug->type = CTL_ADD_VSOCK;
        plug->fd[0] = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
        if (plug->fd[0] < 0)
                return error_set_errno(err, errno, "cannot open '/dev/vhost-vsock' (is the module vhost_vsock there?)");
        return give_cid(plug->fd[0], plug->device, err);
}

static gboolean vsock_describe(Plug *plug, const PlugHost *host, GError **err) {
        plug->size = sizeof(plug->message.vsock);
        vmm_config_vsock(plug->device, &plug->message.vsock);
        return TRUE;
}

const DeviceKind device_kind_vsock = {
        .elements = { "vsock" },
        .check = vsock_check,
        .insert = vsock_insert,
        .find = vsock_find,
        .find_alias = vsock_find_alias,
        .at = vsock_at,
        .remove = vsock_remove,
        .name = vsock_name,
        .list = vsock_list,
        .alias = vsock_alias,
        .open = vsock_open,
        .describe = vsock_describe,
};
