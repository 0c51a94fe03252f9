/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a method call on one of the daemon's objects is answered with. On the thread of D-Bus. */
#pragma once

#include "dbus/bus_call.h"
#include "dbus/calls.h"
#include "dbus/domains.h"

typedef struct Router {
        Domains *domains;
        Calls *calls;
} Router;

/* Takes the call; answers it now, or lets `calls` do so later. */
void router_handle(const Router *router, BusCall *call);
