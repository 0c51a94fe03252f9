/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's networks and storage volumes, asked for through its client library as any
 * management program would: a network keeps its accounting (ports, floors, the
 * bridge's life) and its errors reach our client as they are, code and text.
 *
 * A connection is opened per operation. It costs a few milliseconds on a local socket,
 * there are one to three operations in a domain's life, and there is nothing to keep
 * alive, to reconnect or to lock.
 */
#include "net/network.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "driver.h"
#include "net/port_xml.h"
#include "util/error.h"

#define NETWORK_URI "network:///system"
#define STORAGE_URI "storage:///system"

typedef virConnect Connection;
typedef virNetwork Network;
typedef virNetworkPort NetworkPort;
typedef virStoragePool StoragePool;
typedef virStorageVol StorageVolume;

static void connection_release(Connection *p) {
        (void) virConnectClose(p);
}
static void network_release(Network *p) {
        (void) virNetworkFree(p);
}
static void port_release(NetworkPort *p) {
        (void) virNetworkPortFree(p);
}
static void pool_release(StoragePool *p) {
        (void) virStoragePoolFree(p);
}
static void volume_release(StorageVolume *p) {
        (void) virStorageVolFree(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Connection, connection_release)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Network, network_release)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetworkPort, port_release)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoragePool, pool_release)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StorageVolume, volume_release)

/* Without a handler the library prints every error to standard error. */
static void ignore_error(void *data, virErrorPtr error) {
}

static gpointer client_init(gpointer unused) {
        if (virInitialize() < 0)
                g_warning("cannot initialize libvirt's client library");
        virSetErrorFunc(NULL, ignore_error);
        return NULL;
}

/* The library's last error as ours. */
static void set_client_error(GError **err, const char *what) {
        virErrorPtr last = virGetLastError();

        if (last && last->code != VIR_ERR_OK && last->message)
                g_set_error_literal(err, VIRTMICRO_ERROR, last->code, last->message);
        else
                error_set(err, VIR_ERR_INTERNAL_ERROR, "%s failed without an error", what);
}

static Connection *client_open(const char *uri, GError **err) {
        static GOnce once = G_ONCE_INIT;
        Connection *connection;

        (void) g_once(&once, client_init, NULL);
        connection = virConnectOpen(uri);
        if (!connection) {
                set_client_error(err, "virConnectOpen");
                g_prefix_error(err, "cannot reach libvirt at %s: ", uri);
        }
        return connection;
}

/* --- Networks ---------------------------------------------------------------------------------- */

static Network *network_find(Connection *connection, const char *name, GError **err) {
        Network *network = virNetworkLookupByName(connection, name);
        if (!network)
                set_client_error(err, "virNetworkLookupByName");
        return network;
}

static gboolean check_active(Network *network, const char *name, GError **err) {
        int active = virNetworkIsActive(network);

        if (active > 0)
                return TRUE;
        if (active < 0)
                set_client_error(err, "virNetworkIsActive");
        else
                error_set(err, VIR_ERR_OPERATION_INVALID, "network '%s' is not active: start it (virsh net-start %s)",
                          name, name);
        return FALSE;
}

static gboolean apply_port(NetworkPort *port, DomainNic *nic, GError **err) {
        char *xml = virNetworkPortGetXMLDesc(port, 0);
        gboolean ok;

        if (!xml) {
                set_client_error(err, "virNetworkPortGetXMLDesc");
                return FALSE;
        }
        ok = port_xml_apply(xml, nic, err);
        free(xml);
        return ok;
}

gboolean network_port_create(const DomainDef *def, DomainNic *nic, GError **err) {
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(Network) network = connection ? network_find(connection, nic->source, err) : NULL;
        g_autofree char *xml = NULL;

        if (!network || !check_active(network, nic->source, err)) {
                g_clear_pointer(&nic->portid, g_free);
                return FALSE;
        }
        xml = port_xml_format(def, nic, nic->portid);
        g_autoptr(NetworkPort) port = virNetworkPortCreateXML(network, xml, 0);
        if (!port) {
                set_client_error(err, "virNetworkPortCreateXML");
                return FALSE;
        }
        if (apply_port(port, nic, err))
                return TRUE;
        (void) virNetworkPortDelete(port, 0);
        return FALSE;
}

static gboolean port_delete(const char *name, const char *portid, GError **err) {
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(Network) network = connection ? network_find(connection, name, err) : NULL;
        g_autoptr(NetworkPort) port = NULL;

        if (!network)
                return FALSE;
        port = virNetworkPortLookupByUUIDString(network, portid);
        if (port && virNetworkPortDelete(port, 0) == 0)
                return TRUE;
        set_client_error(err, "virNetworkPortDelete");
        return FALSE;
}

/* A network that was stopped meanwhile has dropped its ports itself. */
void network_port_delete(const char *name, const char *portid) {
        g_autoptr(GError) error = NULL;

        if (port_delete(name, portid, &error))
                return;
        switch (error_code(error)) {
        case VIR_ERR_NO_NETWORK:
        case VIR_ERR_NO_NETWORK_PORT:
        case VIR_ERR_OPERATION_INVALID:
                return;
        default:
                g_warning("port %s of network '%s' could not be released: %s", portid, name, error->message);
        }
}

/* --- Leases ---------------------------------------------------------------------------------- */

static void address_free(gpointer data) {
        DomainIpAddress *address = data;
        g_free(address->addr);
        g_free(address);
}

static void take_lease(GPtrArray *addresses, virNetworkDHCPLeasePtr lease) {
        DomainIpAddress *address = g_new0(DomainIpAddress, 1);

        address->type = lease->type;
        address->addr = g_strdup(lease->ipaddr);
        address->prefix = lease->prefix;
        g_ptr_array_add(addresses, address);
        virNetworkDHCPLeaseFree(lease);
}

GPtrArray *network_get_leases(const char *name, const guint8 mac[6], GError **err) {
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(Network) network = connection ? network_find(connection, name, err) : NULL;
        virNetworkDHCPLeasePtr *leases = NULL;
        char text[18];
        int n;

        if (!network)
                return NULL;
        domain_mac_format(mac, text);
        n = virNetworkGetDHCPLeases(network, text, &leases, 0);
        if (n < 0) {
                set_client_error(err, "virNetworkGetDHCPLeases");
                return NULL;
        }
        GPtrArray *addresses = g_ptr_array_new_with_free_func(address_free);
        for (int i = 0; i < n; i++)
                take_lease(addresses, leases[i]);
        free(leases);
        return addresses;
}

/* --- Volumes ----------------------------------------------------------------------------------- */

char *storage_volume_path(const char *pool_name, const char *volume_name, GError **err) {
        g_autoptr(Connection) connection = client_open(STORAGE_URI, err);
        g_autoptr(StoragePool) pool = connection ? virStoragePoolLookupByName(connection, pool_name) : NULL;
        g_autoptr(StorageVolume) volume = pool ? virStorageVolLookupByName(pool, volume_name) : NULL;
        char *path = volume ? virStorageVolGetPath(volume) : NULL;
        char *copy;

        if (!connection)
                return NULL;
        if (!path) {
                set_client_error(err, "virStorageVolGetPath");
                return NULL;
        }
        copy = g_strdup(path);
        free(path);
        return copy;
}
