/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The documents that tell clients what this host and this driver can do. */
#pragma once

#include <glib.h>

/* <capabilities> of this host. */
char *capabilities_format(const char *emulator, GError **err);
/* <domainCapabilities>; NULL arguments take defaults, others are checked: VIR_ERR_INVALID_ARG "unknown virttype: x". */
char *domain_capabilities_format(const char *emulator, const char *arch, const char *machine, const char *virttype,
                                 GError **err);
