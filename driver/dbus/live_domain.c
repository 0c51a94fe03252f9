/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Some of what libvirt clients change in a domain has no event: autostart, the numbers
 * of a definition. Reads must be right all the same, so they pass through here. The
 * generated class keeps the values and announces changes; this one only comes before it
 * in the reading of a property. Its properties have the generated class's numbers, which
 * count from 1 in the order of the introspection file.
 */
#include "dbus/live_domain.h"

struct _LiveDomain {
        BusDomainSkeleton parent;
        void (*refresh)(BusDomain *bus, gpointer data);
        gpointer data;
};

G_DEFINE_TYPE(LiveDomain, live_domain, BUS_TYPE_DOMAIN_SKELETON)

static void get_property(GObject *object, guint id, GValue *value, GParamSpec *spec) {
        LiveDomain *live = LIVE_DOMAIN(object);

        if (live->refresh)
                live->refresh(BUS_DOMAIN(object), live->data);
        G_OBJECT_CLASS(live_domain_parent_class)->get_property(object, id, value, spec);
}

static void set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec) {
        G_OBJECT_CLASS(live_domain_parent_class)->set_property(object, id, value, spec);
}

static void live_domain_class_init(LiveDomainClass *class) {
        G_OBJECT_CLASS(class)->get_property = get_property;
        G_OBJECT_CLASS(class)->set_property = set_property;
        bus_domain_override_properties(G_OBJECT_CLASS(class), 1);
}

static void live_domain_init(LiveDomain *live) {
}

LiveDomain *live_domain_new(void (*refresh)(BusDomain *bus, gpointer data), gpointer data) {
        LiveDomain *live = g_object_new(LIVE_TYPE_DOMAIN, NULL);

        live->refresh = refresh;
        live->data = data;
        return live;
}

void live_domain_disconnect(LiveDomain *live) {
        live->refresh = NULL;
}
