/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps that all kinds of devices share; what is particular to a kind is in its DeviceKind. */
#include "domain/plug.h"

#include <unistd.h>

Plug *plug_new(const DeviceKind *kind, gpointer device) {
        Plug *plug = g_new0(Plug, 1);
        plug->kind = kind;
        plug->device = device;
        plug->fd[0] = plug->fd[1] = -1;
        return plug;
}

void plug_close(Plug *plug) {
        for (gsize i = 0; i < G_N_ELEMENTS(plug->fd); i++) {
                if (plug->fd[i] >= 0)
                        (void) close(plug->fd[i]);
                plug->fd[i] = -1;
        }
}

void plug_free(Plug *plug) {
        plug_close(plug);
        g_free(plug);
}

GPtrArray *plugs_new(DomainDef *def) {
        g_autoptr(GArray) devices = device_list(def);
        GPtrArray *plugs = g_ptr_array_new_with_free_func((GDestroyNotify) plug_free);
        for (guint i = 0; i < devices->len; i++) {
                const Device *device = &g_array_index(devices, Device, i);
                g_ptr_array_add(plugs, plug_new(device->kind, device->device));
        }
        return plugs;
}

const char *plug_alias(const Plug *plug) {
        return plug->kind->alias(plug->device);
}

gboolean plug_has_id(const Plug *plug) {
        return plug->type != CTL_SET_SERIAL;
}

gboolean plug_prepare(Plug *plug, const PlugHost *host, GError **err) {
        return !plug->kind->prepare || plug->kind->prepare(plug->device, host, err);
}

gboolean plug_open(Plug *plug, const PlugHost *host, GError **err) {
        return plug->kind->open(plug, host, err);
}

gboolean plug_connect(Plug *plug, const PlugHost *host, GError **err) {
        return !plug->kind->connect || plug->kind->connect(plug, host, err);
}

gboolean plug_send(Plug *plug, const PlugHost *host, Vmm *vmm, guint32 id, gboolean *ret_refused, GError **err) {
        struct ctl_reply reply = { 0 };
        unsigned n_fds = (unsigned) (plug->fd[0] >= 0) + (unsigned) (plug->fd[1] >= 0);
        *ret_refused = FALSE;
        if (!plug->kind->describe(plug, host, err))
                return FALSE;
        if (plug_has_id(plug))
                plug->message.rng.place.id = id; /* it has the same offset in all of them */
        gboolean ok =
                vmm_call(vmm, plug->type, &plug->message, plug->size, plug->fd, n_fds, &reply, sizeof(reply), err);
        *ret_refused = reply.error != 0;
        return ok;
}

void plug_undo(Plug *plug, const PlugHost *host) {
        plug_close(plug);
        if (plug->connected && plug->kind->release)
                plug->kind->release(host->domain, host->def, plug->device);
        else if (!plug->connected && plug->kind->forget)
                plug->kind->forget(plug->device, host);
        plug->connected = FALSE;
}
