/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words that XML uses for the enums of domain_def.h: NULL-terminated, indexed by the enum. */
#pragma once

extern const char *const domain_action_names[];
extern const char *const domain_memory_source_names[];
extern const char *const domain_numa_mode_names[];
extern const char *const domain_cpu_mode_names[]; /* DOMAIN_CPU_NONE is "" */
extern const char *const domain_cpu_policy_names[];
extern const char *const domain_disk_type_names[];
extern const char *const domain_disk_cache_names[];
extern const char *const domain_nic_type_names[];
extern const char *const domain_char_device_names[];
extern const char *const domain_char_backend_names[];
