/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeps the threads of domains on the CPUs that their definitions name. */
#pragma once

#include <sys/types.h>

#include "driver.h"

typedef struct AffinityWatch AffinityWatch;

/* Whether a definition says anything about where threads run: pins, or a cpuset. */
gboolean affinity_is_wanted(const DomainDef *def);

/* The online CPUs that the kernel lets a thread run on. FALSE when there is no such thread; 0 is none. */
gboolean affinity_get(pid_t tid, CpuMap *ret);

/*
 * Places all threads of a control group and reads back; vcpu_tid has as many entries as the definition has vCPUs.
 * VIR_ERR_CONFIG_UNSUPPORTED when a thread may not run where it should, or may also run elsewhere; earlier threads
 * stay placed. The caller keeps the definition from changing meanwhile.
 */
gboolean affinity_apply(const char *cgroup, const DomainDef *def, const pid_t *vcpu_tid, GError **err);

/* A thread that puts back threads that the kernel has moved. */
AffinityWatch *affinity_watch_new(Driver *driver);
/* Makes it check now, after something that moves threads. Any thread, with a domain's lock held or not. */
void affinity_watch_kick(AffinityWatch *watch);
void affinity_watch_free(AffinityWatch *watch); /* no domain's lock held */
