/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sentences that libvirt puts before the detail of an error, by code, so that
 * messages read the same as those of other hypervisor drivers.
 */
#include "util/error.h"

#include <errno.h>

G_DEFINE_QUARK(virtmicro - error - quark, virtmicro_error)

static const char *code_prefix(virErrorNumber code) {
        switch (code) {
        case VIR_ERR_INTERNAL_ERROR:
                return "internal error: ";
        case VIR_ERR_NO_MEMORY:
                return "out of memory: ";
        case VIR_ERR_NO_SUPPORT:
                return "this function is not supported by the connection driver: ";
        case VIR_ERR_INVALID_ARG:
                return "invalid argument: ";
        case VIR_ERR_OPERATION_FAILED:
                return "operation failed: ";
        case VIR_ERR_XML_ERROR:
                return "XML error: ";
        case VIR_ERR_OPERATION_DENIED:
                return "operation forbidden: ";
        case VIR_ERR_CONF_SYNTAX:
                return "configuration file syntax error: ";
        case VIR_ERR_NO_DOMAIN:
                return "Domain not found: ";
        case VIR_ERR_NO_NETWORK:
                return "Network not found: ";
        case VIR_ERR_NO_STORAGE_POOL:
                return "Storage pool not found: ";
        case VIR_ERR_NO_STORAGE_VOL:
                return "Storage volume not found: ";
        case VIR_ERR_AUTH_FAILED:
                return "authentication failed: ";
        case VIR_ERR_AUTH_CANCELLED:
                return "authentication cancelled: ";
        case VIR_ERR_AUTH_UNAVAILABLE:
                return "authentication unavailable: ";
        case VIR_ERR_OPERATION_INVALID:
                return "Requested operation is not valid: ";
        case VIR_ERR_CONFIG_UNSUPPORTED:
                return "unsupported configuration: ";
        case VIR_ERR_OPERATION_TIMEOUT:
                return "Timed out during operation: ";
        case VIR_ERR_ARGUMENT_UNSUPPORTED:
                return "argument unsupported: ";
        case VIR_ERR_NO_DOMAIN_METADATA:
                return "metadata not found: ";
        case VIR_ERR_OPERATION_UNSUPPORTED:
                return "Operation not supported: ";
        case VIR_ERR_AGENT_UNRESPONSIVE:
                return "Guest agent is not responding: ";
        case VIR_ERR_ACCESS_DENIED:
                return "access denied: ";
        case VIR_ERR_XML_INVALID_SCHEMA:
                return "XML document failed to validate against schema: ";
        case VIR_ERR_RESOURCE_BUSY:
                return "resource busy: ";
        case VIR_ERR_DEVICE_MISSING:
                return "device not found: ";
        default:
                return "";
        }
}

gboolean error_set(GError **err, virErrorNumber code, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *detail = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error(err, VIRTMICRO_ERROR, (gint) code, "%s%s", code_prefix(code), detail);
        return FALSE;
}

gboolean error_set_errno(GError **err, int errnum, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *detail = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR, "%s: %s", detail, g_strerror(ABS(errnum)));
        return FALSE;
}

gboolean error_set_no_support(GError **err, const char *api) {
        return error_set(err, VIR_ERR_NO_SUPPORT, "%s", api);
}

virErrorNumber error_code(const GError *err) {
        return err->domain == VIRTMICRO_ERROR ? (virErrorNumber) err->code : VIR_ERR_INTERNAL_ERROR;
}

gboolean error_check_flags(guint flags, guint known, const char *function, GError **err) {
        if ((flags & ~known) == 0)
                return TRUE;
        return error_set(err, VIR_ERR_INVALID_ARG, "unsupported flags (0x%x) in function %s", flags & ~known, function);
}
