/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The generated skeleton of a domain, with a say in what a property read sees. */
#pragma once

#include "dbus/bus.h"

#define LIVE_TYPE_DOMAIN (live_domain_get_type())
G_DECLARE_FINAL_TYPE(LiveDomain, live_domain, LIVE, DOMAIN, BusDomainSkeleton)

/* `refresh` comes before a client is given the value of a property; it may set properties. */
LiveDomain *live_domain_new(void (*refresh)(BusDomain *bus, gpointer data), gpointer data);
void live_domain_disconnect(LiveDomain *live); /* no `refresh` from here on */
