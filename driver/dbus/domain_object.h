/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's object on the bus: properties that mirror the domain, methods that act on it. */
#pragma once

#include "dbus/calls.h"
#include "dbus/bus.h"

typedef struct DomainObject DomainObject;

/* The properties are right from the start; the caller exports domain_object_skeleton(). */
DomainObject *domain_object_new(Domain *domain, Calls *calls);
void domain_object_free(DomainObject *object);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainObject, domain_object_free)

GDBusObjectSkeleton *domain_object_skeleton(DomainObject *object);
const char *domain_object_path(DomainObject *object);
const char *domain_object_name(DomainObject *object);
gboolean domain_object_is_active(DomainObject *object);

/* Brings the properties up to date and announces those that changed. `domain`: who has the UUID now. */
void domain_object_refresh(DomainObject *object, Domain *domain);
void domain_object_emit_lifecycle(DomainObject *object, const char *event, const char *detail);
