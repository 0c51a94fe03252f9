/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables from libvirt's public numbers to the words that operators know from virsh.
 * A table is indexed by number; a hole or an index past its end is "unknown".
 */
#include <gio/gio.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "dbus/names.h"
#include "driver.h"
#include "util/error.h"

typedef struct Words {
        const char *const *words;
        guint n;
} Words;

#define WORDS(array)                                                                                                   \
        { array, G_N_ELEMENTS(array) }

static const char *word(const char *const *words, guint n, int i) {
        if (i < 0 || (guint) i >= n || !words[i])
                return "unknown";
        return words[i];
}

static const char *word_in(const Words *tables, guint n, int i, int j) {
        if (i < 0 || (guint) i >= n)
                return "unknown";
        return word(tables[i].words, tables[i].n, j);
}

static const char *const states[] = {
        [VIR_DOMAIN_NOSTATE] = "no state", [VIR_DOMAIN_RUNNING] = "running",         [VIR_DOMAIN_BLOCKED] = "idle",
        [VIR_DOMAIN_PAUSED] = "paused",    [VIR_DOMAIN_SHUTDOWN] = "in shutdown",    [VIR_DOMAIN_SHUTOFF] = "shut off",
        [VIR_DOMAIN_CRASHED] = "crashed",  [VIR_DOMAIN_PMSUSPENDED] = "pmsuspended",
};

static const char *const running_reasons[] = {
        [VIR_DOMAIN_RUNNING_BOOTED] = "booted",
        [VIR_DOMAIN_RUNNING_MIGRATED] = "migrated",
        [VIR_DOMAIN_RUNNING_RESTORED] = "restored",
        [VIR_DOMAIN_RUNNING_FROM_SNAPSHOT] = "from snapshot",
        [VIR_DOMAIN_RUNNING_UNPAUSED] = "unpaused",
        [VIR_DOMAIN_RUNNING_MIGRATION_CANCELED] = "migration canceled",
        [VIR_DOMAIN_RUNNING_SAVE_CANCELED] = "save canceled",
        [VIR_DOMAIN_RUNNING_WAKEUP] = "event wakeup",
        [VIR_DOMAIN_RUNNING_CRASHED] = "crashed",
        [VIR_DOMAIN_RUNNING_POSTCOPY] = "post-copy",
};

static const char *const paused_reasons[] = {
        [VIR_DOMAIN_PAUSED_USER] = "user",
        [VIR_DOMAIN_PAUSED_MIGRATION] = "migrating",
        [VIR_DOMAIN_PAUSED_SAVE] = "saving",
        [VIR_DOMAIN_PAUSED_DUMP] = "dumping",
        [VIR_DOMAIN_PAUSED_IOERROR] = "I/O error",
        [VIR_DOMAIN_PAUSED_WATCHDOG] = "watchdog",
        [VIR_DOMAIN_PAUSED_FROM_SNAPSHOT] = "from snapshot",
        [VIR_DOMAIN_PAUSED_SHUTTING_DOWN] = "shutting down",
        [VIR_DOMAIN_PAUSED_SNAPSHOT] = "creating snapshot",
        [VIR_DOMAIN_PAUSED_CRASHED] = "crashed",
        [VIR_DOMAIN_PAUSED_STARTING_UP] = "starting up",
        [VIR_DOMAIN_PAUSED_POSTCOPY] = "post-copy",
        [VIR_DOMAIN_PAUSED_POSTCOPY_FAILED] = "post-copy failed",
};

static const char *const shutdown_reasons[] = { [VIR_DOMAIN_SHUTDOWN_USER] = "user" };

static const char *const shutoff_reasons[] = {
        [VIR_DOMAIN_SHUTOFF_SHUTDOWN] = "shutdown",
        [VIR_DOMAIN_SHUTOFF_DESTROYED] = "destroyed",
        [VIR_DOMAIN_SHUTOFF_CRASHED] = "crashed",
        [VIR_DOMAIN_SHUTOFF_MIGRATED] = "migrated",
        [VIR_DOMAIN_SHUTOFF_SAVED] = "saved",
        [VIR_DOMAIN_SHUTOFF_FAILED] = "failed",
        [VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT] = "from snapshot",
        [VIR_DOMAIN_SHUTOFF_DAEMON] = "daemon",
};

static const char *const crashed_reasons[] = { [VIR_DOMAIN_CRASHED_PANICKED] = "panicked" };

static const Words reasons[] = {
        [VIR_DOMAIN_RUNNING] = WORDS(running_reasons),   [VIR_DOMAIN_PAUSED] = WORDS(paused_reasons),
        [VIR_DOMAIN_SHUTDOWN] = WORDS(shutdown_reasons), [VIR_DOMAIN_SHUTOFF] = WORDS(shutoff_reasons),
        [VIR_DOMAIN_CRASHED] = WORDS(crashed_reasons),
};

static const char *const events[] = {
        [VIR_DOMAIN_EVENT_DEFINED] = "Defined",   [VIR_DOMAIN_EVENT_UNDEFINED] = "Undefined",
        [VIR_DOMAIN_EVENT_STARTED] = "Started",   [VIR_DOMAIN_EVENT_SUSPENDED] = "Suspended",
        [VIR_DOMAIN_EVENT_RESUMED] = "Resumed",   [VIR_DOMAIN_EVENT_STOPPED] = "Stopped",
        [VIR_DOMAIN_EVENT_SHUTDOWN] = "Shutdown", [VIR_DOMAIN_EVENT_PMSUSPENDED] = "PMSuspended",
        [VIR_DOMAIN_EVENT_CRASHED] = "Crashed",
};

static const char *const defined_details[] = {
        [VIR_DOMAIN_EVENT_DEFINED_ADDED] = "Added",
        [VIR_DOMAIN_EVENT_DEFINED_UPDATED] = "Updated",
        [VIR_DOMAIN_EVENT_DEFINED_RENAMED] = "Renamed",
        [VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT] = "Snapshot",
};

static const char *const undefined_details[] = {
        [VIR_DOMAIN_EVENT_UNDEFINED_REMOVED] = "Removed",
        [VIR_DOMAIN_EVENT_UNDEFINED_RENAMED] = "Renamed",
};

static const char *const started_details[] = {
        [VIR_DOMAIN_EVENT_STARTED_BOOTED] = "Booted",       [VIR_DOMAIN_EVENT_STARTED_MIGRATED] = "Migrated",
        [VIR_DOMAIN_EVENT_STARTED_RESTORED] = "Restored",   [VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT] = "Snapshot",
        [VIR_DOMAIN_EVENT_STARTED_WAKEUP] = "Event wakeup",
};

static const char *const suspended_details[] = {
        [VIR_DOMAIN_EVENT_SUSPENDED_PAUSED] = "Paused",
        [VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED] = "Migrated",
        [VIR_DOMAIN_EVENT_SUSPENDED_IOERROR] = "I/O Error",
        [VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG] = "Watchdog",
        [VIR_DOMAIN_EVENT_SUSPENDED_RESTORED] = "Restored",
        [VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT] = "Snapshot",
        [VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR] = "API error",
        [VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY] = "Post-copy",
        [VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED] = "Post-copy Error",
};

static const char *const resumed_details[] = {
        [VIR_DOMAIN_EVENT_RESUMED_UNPAUSED] = "Unpaused",
        [VIR_DOMAIN_EVENT_RESUMED_MIGRATED] = "Migrated",
        [VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT] = "Snapshot",
        [VIR_DOMAIN_EVENT_RESUMED_POSTCOPY] = "Post-copy",
};

static const char *const stopped_details[] = {
        [VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN] = "Shutdown",
        [VIR_DOMAIN_EVENT_STOPPED_DESTROYED] = "Destroyed",
        [VIR_DOMAIN_EVENT_STOPPED_CRASHED] = "Crashed",
        [VIR_DOMAIN_EVENT_STOPPED_MIGRATED] = "Migrated",
        [VIR_DOMAIN_EVENT_STOPPED_SAVED] = "Saved",
        [VIR_DOMAIN_EVENT_STOPPED_FAILED] = "Failed",
        [VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT] = "Snapshot",
};

static const char *const shutdown_details[] = {
        [VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED] = "Finished",
        [VIR_DOMAIN_EVENT_SHUTDOWN_GUEST] = "Finished after guest request",
        [VIR_DOMAIN_EVENT_SHUTDOWN_HOST] = "Finished after host request",
};

static const char *const pmsuspended_details[] = {
        [VIR_DOMAIN_EVENT_PMSUSPENDED_MEMORY] = "Memory",
        [VIR_DOMAIN_EVENT_PMSUSPENDED_DISK] = "Disk",
};

static const char *const crashed_details[] = {
        [VIR_DOMAIN_EVENT_CRASHED_PANICKED] = "Panicked",
        [VIR_DOMAIN_EVENT_CRASHED_CRASHLOADED] = "Crashloaded",
};

static const Words details[] = {
        [VIR_DOMAIN_EVENT_DEFINED] = WORDS(defined_details),
        [VIR_DOMAIN_EVENT_UNDEFINED] = WORDS(undefined_details),
        [VIR_DOMAIN_EVENT_STARTED] = WORDS(started_details),
        [VIR_DOMAIN_EVENT_SUSPENDED] = WORDS(suspended_details),
        [VIR_DOMAIN_EVENT_RESUMED] = WORDS(resumed_details),
        [VIR_DOMAIN_EVENT_STOPPED] = WORDS(stopped_details),
        [VIR_DOMAIN_EVENT_SHUTDOWN] = WORDS(shutdown_details),
        [VIR_DOMAIN_EVENT_PMSUSPENDED] = WORDS(pmsuspended_details),
        [VIR_DOMAIN_EVENT_CRASHED] = WORDS(crashed_details),
};

char *bus_domain_path(const guint8 uuid[16]) {
        char text[37];

        domain_uuid_format(uuid, text);
        return g_strconcat(BUS_ROOT "/domain/", g_strdelimit(text, "-", '_'), NULL);
}

const char *state_name(int state) {
        return word(states, G_N_ELEMENTS(states), state);
}

const char *reason_name(int state, int reason) {
        return word_in(reasons, G_N_ELEMENTS(reasons), state, reason);
}

const char *lifecycle_event_name(int event) {
        return word(events, G_N_ELEMENTS(events), event);
}

const char *lifecycle_detail_name(int event, int detail) {
        return word_in(details, G_N_ELEMENTS(details), event, detail);
}

static const char *virtmicro_error_name(int code) {
        switch (code) {
        case VIR_ERR_NO_DOMAIN:
                return BUS_ERROR("NoDomain");
        case VIR_ERR_OPERATION_INVALID:
                return BUS_ERROR("OperationInvalid");
        case VIR_ERR_OPERATION_TIMEOUT:
                return BUS_ERROR("OperationTimeout");
        case VIR_ERR_CONFIG_UNSUPPORTED:
                return BUS_ERROR("ConfigUnsupported");
        case VIR_ERR_NO_SUPPORT:
                return BUS_ERROR("NoSupport");
        case VIR_ERR_INVALID_ARG:
                return "org.freedesktop.DBus.Error.InvalidArgs";
        case VIR_ERR_NO_MEMORY:
                return "org.freedesktop.DBus.Error.NoMemory";
        default:
                return BUS_ERROR("Failed");
        }
}

static const char *gdbus_error_name(int code) {
        switch (code) {
        case G_DBUS_ERROR_ACCESS_DENIED:
                return "org.freedesktop.DBus.Error.AccessDenied";
        case G_DBUS_ERROR_AUTH_FAILED:
                return "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
        case G_DBUS_ERROR_LIMITS_EXCEEDED:
                return "org.freedesktop.DBus.Error.LimitsExceeded";
        case G_DBUS_ERROR_INVALID_ARGS:
                return "org.freedesktop.DBus.Error.InvalidArgs";
        default:
                return BUS_ERROR("Failed");
        }
}

const char *bus_error_name(const GError *err) {
        if (err->domain == VIRTMICRO_ERROR)
                return virtmicro_error_name(err->code);
        if (err->domain == G_DBUS_ERROR)
                return gdbus_error_name(err->code);
        return BUS_ERROR("Failed");
}
