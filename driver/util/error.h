/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver's one error idiom: GError in the VIRTMICRO_ERROR domain, whose code is a
 * virErrorNumber. The error is set where the cause is known; callers may prefix it
 * (g_prefix_error) but never replace it. The text that reaches the client is libvirt's
 * standard sentence for the code followed by the detail, as stock drivers phrase it
 * ("Requested operation is not valid: domain is not running").
 */
#pragma once

#include <glib.h>
#include <libvirt/virterror.h>

#define VIRTMICRO_ERROR (virtmicro_error_quark())
GQuark virtmicro_error_quark(void);

/*
 * Sets *err (if err is not NULL) to the code's standard sentence and the detail. Like all that set an error it returns
 * FALSE, so that a failure is one statement: return error_set(err, VIR_ERR_..., ...).
 */
gboolean error_set(GError **err, virErrorNumber code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* VIR_ERR_SYSTEM_ERROR with ": strerror" appended; `errnum` of either sign. */
gboolean error_set_errno(GError **err, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* VIR_ERR_NO_SUPPORT for a public API name such as "virDomainSave". */
gboolean error_set_no_support(GError **err, const char *api);

/* The same for functions that return a pointer: NULL. */
#define error_null(...)       ((void) error_set(__VA_ARGS__), NULL)
#define error_null_errno(...) ((void) error_set_errno(__VA_ARGS__), NULL)

/* The code of an error of any domain: others (GIO, libxml) count as VIR_ERR_INTERNAL_ERROR. */
virErrorNumber error_code(const GError *err);

/* Fails with VIR_ERR_INVALID_ARG "unsupported flags (0x..) in function f" when bits outside `known` are set. */
gboolean error_check_flags(guint flags, guint known, const char *function, GError **err);
