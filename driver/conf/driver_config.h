/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's settings: /etc/libvirt/virtmicrod.conf over built-in defaults (docs/virtmicrod.conf.5). Paths are shown
 * as the default prefix has them.
 */
#pragma once

#include <glib.h>

typedef struct DriverConfig {
        char *config_dir;               /* /etc/libvirt/micro: persistent domains, autostart links */
        char *state_dir;                /* /run/libvirt/micro: status, control sockets */
        char *socket_dir;               /* /run/libvirt */
        char *vmm_path;                 /* /usr/libexec/virtmicro-vmm */
        char *schema_dir;               /* /usr/share/virtmicro/schemas */
        char *log_level;                /* error, warning, info, debug */
        gboolean reject_legacy_devices; /* legacy_devices = "reject" */
        guint32 uid_base;               /* first of 65536 uids that monitors run under */
        guint max_clients, max_user_clients, max_anonymous_clients, max_client_requests, max_workers, prio_workers;
        guint neighbour_workers, neighbour_timeout; /* limit of calls to other processes; seconds */
        guint keepalive_interval, keepalive_count;  /* seconds, tries */
        guint shutdown_timeout;                     /* seconds that a scope gets between SIGTERM and SIGKILL */
        guint log_max_size;                         /* bytes of a log file before it is rotated */
        guint log_max_backups;                      /* rotated files to keep: FILE.0, FILE.1, ... */
        char *auth_unix_ro, *auth_unix_rw;          /* "polkit" or "none" */
        char *unix_sock_group;                      /* group of the sockets that the daemon opens itself */
} DriverConfig;

/* Reads `path` (NULL: the default one; a missing default file is fine). Unknown keys are VIR_ERR_CONF_SYNTAX. */
DriverConfig *driver_config_load(const char *path, GError **err);
void driver_config_free(DriverConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DriverConfig, driver_config_free)
