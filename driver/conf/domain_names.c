/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One table per enum, shared by parsing and formatting, so that the two cannot drift
 * apart. The order is that of the enum.
 */
#include "conf/domain_names.h"

#include <stddef.h>

const char *const domain_action_names[] = { "destroy",          "restart",          "preserve", "rename-restart",
                                            "coredump-destroy", "coredump-restart", NULL };
const char *const domain_memory_source_names[] = { "anonymous", "memfd", "file", NULL };
const char *const domain_numa_mode_names[] = { "strict", "preferred", "interleave", "restrictive", NULL };
const char *const domain_cpu_mode_names[] = { "", "host-passthrough", "host-model", "custom", "maximum", NULL };
const char *const domain_cpu_policy_names[] = { "disable", "force", "require", "optional", "forbid", NULL };
const char *const domain_disk_type_names[] = { "file", "block", "volume", NULL };
const char *const domain_disk_cache_names[] = { "default", "none", "writethrough", "writeback", "directsync",
                                                "unsafe",  NULL };
const char *const domain_nic_type_names[] = { "bridge", "network", "ethernet", NULL };
const char *const domain_char_device_names[] = { "serial", "console", "channel", NULL };
const char *const domain_char_backend_names[] = { "pty", "unix", "file", "null", NULL };
