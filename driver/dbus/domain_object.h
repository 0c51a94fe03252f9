/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain as announced on the bus: its object's properties and signals. On the thread of D-Bus. */
#pragma once

#include <gio/gio.h>

#include "driver.h"

typedef struct DomainObject DomainObject;

/* Takes the summary's contents. */
DomainObject *domain_object_new(GDBusConnection *bus, DomainSummary *summary);
void domain_object_free(DomainObject *object);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainObject, domain_object_free)

const guint8 *domain_object_uuid(const DomainObject *object); /* 16 bytes */
const char *domain_object_path(const DomainObject *object);
const char *domain_object_name(const DomainObject *object);
gboolean domain_object_is_active(const DomainObject *object);

/* Properties as they were last announced: NULL when there is no such; all: a{sv}. The object's. */
GVariant *domain_object_get(const DomainObject *object, const char *property);
GVariant *domain_object_get_all(DomainObject *object);

/* Takes the summary's contents, and announces what has changed. */
void domain_object_refresh(DomainObject *object, DomainSummary *summary);
void domain_object_emit_lifecycle(DomainObject *object, const char *event, const char *detail);
