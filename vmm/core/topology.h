/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How vCPUs are grouped.
 */
#pragma once

#define TOPOLOGY_PART_MAX 256u

struct topology {
        unsigned vcpus, sockets, dies, cores, threads; /* each at least 1; per parent */
};
