/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The objects of all domains, and the manager's view of them. On the thread of D-Bus. */
#pragma once

#include "dbus/domain_object.h"

typedef struct Domains Domains;

Domains *domains_new(Driver *driver, GDBusConnection *bus);
void domains_free(Domains *domains);
Driver *domains_driver(const Domains *domains);

/* Makes an object for each domain, without signals. */
gboolean domains_load(Domains *domains, GError **err);

/* The object at a path below BUS_ROOT "/domain/", or NULL. */
DomainObject *domains_find_path(Domains *domains, const char *path);
/* A domain's object, up to date; made if the domain's event is still queued. NULL: the bus does not show it. */
DomainObject *domains_object_of(Domains *domains, Domain *domain);
/* Brings an object up to date. If its domain has gone it stays as it was: the event is queued. */
void domains_refresh(Domains *domains, DomainObject *object);
/* Updates the object with the UUID, announces the event (NULL: none), and drops an object whose domain is gone. */
void domains_note(Domains *domains, const guint8 uuid[16], const char *name, const char *event, const char *detail);
/* Announces the numbers of domains, if they have changed. */
void domains_flush(Domains *domains);

/* The manager's properties: one, NULL when there is no such; all: a{sv}. With a reference. */
GVariant *domains_get(Domains *domains, const char *property);
GVariant *domains_get_all(Domains *domains);

/* Answers that name every domain, brought up to date for it: ao, a{oa{sa{sv}}}, XML. Floating. */
GVariant *domains_list(Domains *domains, guint flags, GError **err);
GVariant *domains_get_managed(Domains *domains);
void domains_introspect(Domains *domains, GString *xml);
