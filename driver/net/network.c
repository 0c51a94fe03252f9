/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's networks and storage volumes, reached through its client library like by any
 * management program: a network keeps its accounting (ports, floors, the bridge's life)
 * and its errors reach our client as they are, code and text.
 *
 * The library waits for an answer without a limit, and opening a connection cannot be
 * interrupted at all. So each operation is a request that runs on a thread of its daemon's
 * Neighbour (util/neighbour.h); network and storage have one each, as libvirt has a daemon
 * for each. A request owns its data, since its caller may have left.
 *
 * A port that was asked for may be made when its caller has left, and even when somebody has already looked for it to
 * delete it. So it counts as there until its creation has ended, whatever libvirt says meanwhile, and its deletion
 * fails and is to be repeated.
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
#include "util/neighbour.h"

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

/* Ids of ports whose creation has not ended. The threads that create them may outlive the client. */
typedef struct Creations {
        GMutex lock;
        GHashTable *portids;
} Creations;

struct LibvirtClient {
        Neighbour *network, *storage;
        Creations *creations;
};

static void creations_clear(gpointer data) {
        Creations *creations = data;
        g_hash_table_unref(creations->portids);
        g_mutex_clear(&creations->lock);
}

static Creations *creations_new(void) {
        Creations *creations = g_atomic_rc_box_new0(Creations);
        g_mutex_init(&creations->lock);
        creations->portids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        return creations;
}

static void creations_add(Creations *creations, const char *portid) {
        g_mutex_lock(&creations->lock);
        (void) g_hash_table_add(creations->portids, g_strdup(portid));
        g_mutex_unlock(&creations->lock);
}

static void creations_remove(Creations *creations, const char *portid) {
        g_mutex_lock(&creations->lock);
        (void) g_hash_table_remove(creations->portids, portid);
        g_mutex_unlock(&creations->lock);
}

static gboolean creations_have(Creations *creations, const char *portid) {
        g_mutex_lock(&creations->lock);
        gboolean have = g_hash_table_contains(creations->portids, portid);
        g_mutex_unlock(&creations->lock);
        return have;
}

LibvirtClient *libvirt_client_new(guint timeout) {
        LibvirtClient *client = g_new0(LibvirtClient, 1);

        client->network =
                neighbour_new("libvirt's network daemon", "systemctl status virtnetworkd libvirtd", timeout * 1000);
        client->storage =
                neighbour_new("libvirt's storage daemon", "systemctl status virtstoraged libvirtd", timeout * 1000);
        client->creations = creations_new();
        return client;
}

void libvirt_client_free(LibvirtClient *client) {
        if (!client)
                return;
        neighbour_free(client->network);
        neighbour_free(client->storage);
        g_atomic_rc_box_release_full(client->creations, creations_clear);
        g_free(client);
}

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

/* What a request is about, and what it gives. */
typedef struct Request {
        char *network, *portid, *mac, *xml; /* of networks */
        guint8 owner[16];                   /* of ports */
        char *pool, *volume;                /* of storage */
        DomainBandwidth inbound, outbound;
        Creations *creations; /* of a creation: its port is among them */
        gint unasked;         /* atomic: a port's creation has failed before libvirt was asked for it */
        char *text;           /* the result: a port's XML, a volume's path */
        GPtrArray *addresses; /* the result: leases */
        GPtrArray *ports;     /* the result: NetworkPortName* */
} Request;

static void request_clear(gpointer data) {
        Request *request = data;
        if (request->creations) {
                creations_remove(request->creations, request->portid);
                g_atomic_rc_box_release_full(request->creations, creations_clear);
        }
        g_free(request->network);
        g_free(request->portid);
        g_free(request->mac);
        g_free(request->xml);
        g_free(request->pool);
        g_free(request->volume);
        g_free(request->text);
        g_clear_pointer(&request->addresses, g_ptr_array_unref);
        g_clear_pointer(&request->ports, g_ptr_array_unref);
}

static void request_unref(Request *request) {
        g_atomic_rc_box_release_full(request, request_clear);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Request, request_unref)

static Request *request_new(const char *network, const char *portid) {
        Request *request = g_atomic_rc_box_new0(Request);
        request->network = g_strdup(network);
        request->portid = g_strdup(portid);
        return request;
}

/* --- Ports --------------------------------------------------------------------------------------- */

static gboolean run_create(gpointer data, GError **err) {
        Request *request = data;
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(Network) network = connection ? network_find(connection, request->network, err) : NULL;
        g_autoptr(NetworkPort) port = NULL;
        char *xml;

        if (!network || !check_active(network, request->network, err)) {
                g_atomic_int_set(&request->unasked, TRUE);
                return FALSE;
        }
        port = virNetworkPortCreateXML(network, request->xml, 0);
        if (!port) {
                set_client_error(err, "virNetworkPortCreateXML");
                return FALSE;
        }
        xml = virNetworkPortGetXMLDesc(port, 0);
        if (!xml) {
                set_client_error(err, "virNetworkPortGetXMLDesc");
                (void) virNetworkPortDelete(port, 0);
                return FALSE;
        }
        request->text = g_strdup(xml);
        free(xml);
        return TRUE;
}

/* A network that was stopped meanwhile has dropped its ports itself. */
static gboolean error_is_absence(const GError *err) {
        switch (error_code(err)) {
        case VIR_ERR_NO_NETWORK:
        case VIR_ERR_NO_NETWORK_PORT:
        case VIR_ERR_OPERATION_INVALID:
                return TRUE;
        default:
                return FALSE;
        }
}

static NetworkPort *port_find(Connection *connection, const Request *request, GError **err) {
        g_autoptr(Network) network = network_find(connection, request->network, err);
        NetworkPort *port = network ? virNetworkPortLookupByUUIDString(network, request->portid) : NULL;

        if (network && !port)
                set_client_error(err, "virNetworkPortLookupByUUIDString");
        return port;
}

static gboolean run_delete(gpointer data, GError **err) {
        const Request *request = data;
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(GError) failed = NULL;
        g_autoptr(NetworkPort) port = connection ? port_find(connection, request, &failed) : NULL;

        if (!connection)
                return FALSE;
        if (port && virNetworkPortDelete(port, 0) == 0)
                return TRUE;
        if (port)
                set_client_error(&failed, "virNetworkPortDelete");
        if (error_is_absence(failed))
                return TRUE;
        g_propagate_error(err, g_steal_pointer(&failed));
        return FALSE;
}

/* Deletes a port whose caller has left, at once. If that fails, the domain's release succeeds later. */
static void undo_create(gpointer data) {
        (void) run_delete(data, NULL);
}

static int add_limit(virTypedParameterPtr *params, int *n, int *max, const char *name, guint64 value) {
        return virTypedParamsAddUInt(params, n, max, name, (unsigned) MIN(value, G_MAXUINT));
}

static gboolean put_limits(const Request *request, virTypedParameterPtr *params, int *n) {
        const DomainBandwidth *in = &request->inbound, *out = &request->outbound;
        int max = 0;

        return add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_IN_AVERAGE, in->average) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_IN_PEAK, in->peak) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_IN_BURST, in->burst) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_IN_FLOOR, in->floor) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_OUT_AVERAGE, out->average) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_OUT_PEAK, out->peak) == 0 &&
               add_limit(params, n, &max, VIR_NETWORK_PORT_BANDWIDTH_OUT_BURST, out->burst) == 0;
}

static gboolean run_limit(gpointer data, GError **err) {
        const Request *request = data;
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(NetworkPort) port = connection ? port_find(connection, request, err) : NULL;
        virTypedParameterPtr params = NULL;
        int n = 0;

        if (!port)
                return FALSE;
        gboolean ok = put_limits(request, &params, &n) && virNetworkPortSetParameters(port, params, n, 0) == 0;
        if (!ok)
                set_client_error(err, "virNetworkPortSetParameters");
        virTypedParamsFree(params, n);
        return ok;
}

static void port_name_free(gpointer data) {
        NetworkPortName *name = data;
        g_free(name->network);
        g_free(name->portid);
        g_free(name);
}

/* One that goes meanwhile is nobody's any more. */
static void take_if_owned(Request *request, Network *network, NetworkPort *port) {
        char *xml = virNetworkPortGetXMLDesc(port, 0), portid[VIR_UUID_STRING_BUFLEN];

        if (xml && port_xml_is_owned(xml, request->owner) && virNetworkPortGetUUIDString(port, portid) == 0) {
                NetworkPortName *name = g_new0(NetworkPortName, 1);
                *name = (NetworkPortName) { g_strdup(virNetworkGetName(network)), g_strdup(portid) };
                g_ptr_array_add(request->ports, name);
        }
        free(xml);
}

static gboolean list_network(Request *request, Network *network, GError **err) {
        NetworkPort **ports = NULL;
        int n = virNetworkListAllPorts(network, &ports, 0);

        if (n < 0)
                set_client_error(err, "virNetworkListAllPorts");
        for (int i = 0; i < n; i++) {
                g_autoptr(NetworkPort) port = ports[i];
                take_if_owned(request, network, port);
        }
        free(ports);
        return n >= 0;
}

static gboolean run_list(gpointer data, GError **err) {
        Request *request = data;
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        Network **networks = NULL;

        if (!connection)
                return FALSE;
        int n = virConnectListAllNetworks(connection, &networks, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
        gboolean ok = n >= 0;
        if (!ok)
                set_client_error(err, "virConnectListAllNetworks");
        request->ports = g_ptr_array_new_with_free_func(port_name_free);
        for (int i = 0; i < n; i++) {
                g_autoptr(Network) network = networks[i];
                ok = ok && list_network(request, network, err);
        }
        free(networks);
        return ok;
}

static const NeighbourOps list_ops = { .run = run_list, .clear = request_clear };
static const NeighbourOps create_ops = { .run = run_create, .undo = undo_create, .clear = request_clear };
static const NeighbourOps delete_ops = { .run = run_delete, .clear = request_clear };
static const NeighbourOps limit_ops = { .run = run_limit, .clear = request_clear };

gboolean network_port_delete(LibvirtClient *client, const char *network, const char *portid, GError **err) {
        g_autoptr(Request) request = request_new(network, portid);
        if (creations_have(client->creations, portid))
                return error_set(err, VIR_ERR_OPERATION_TIMEOUT,
                                 "the creation of port %s in network '%s' has not ended", portid, network);
        return neighbour_call(client->network, &delete_ops, request, err);
}

gboolean network_port_create(LibvirtClient *client, const DomainDef *def, DomainNic *nic, GError **err) {
        g_autoptr(Request) request = request_new(nic->source, nic->portid);

        request->xml = port_xml_format(def, nic, nic->portid);
        request->creations = g_atomic_rc_box_acquire(client->creations);
        creations_add(client->creations, nic->portid);
        if (neighbour_call(client->network, &create_ops, request, err))
                return port_xml_apply(request->text, nic, err);
        if (g_atomic_int_get(&request->unasked))
                g_clear_pointer(&nic->portid, g_free);
        return FALSE;
}

GPtrArray *network_list_ports(LibvirtClient *client, const guint8 owner[16], GError **err) {
        g_autoptr(Request) request = request_new(NULL, NULL);

        memcpy(request->owner, owner, sizeof(request->owner));
        return neighbour_call(client->network, &list_ops, request, err) ? g_steal_pointer(&request->ports) : NULL;
}

gboolean network_port_set_bandwidth(LibvirtClient *client, const DomainNic *nic, GError **err) {
        g_autoptr(Request) request = request_new(nic->source, nic->portid);

        request->inbound = nic->inbound;
        request->outbound = nic->outbound;
        return neighbour_call(client->network, &limit_ops, request, err);
}

gboolean network_is_silent(LibvirtClient *client) {
        return neighbour_is_silent(client->network);
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

static gboolean run_leases(gpointer data, GError **err) {
        Request *request = data;
        g_autoptr(Connection) connection = client_open(NETWORK_URI, err);
        g_autoptr(Network) network = connection ? network_find(connection, request->network, err) : NULL;
        virNetworkDHCPLeasePtr *leases = NULL;
        int n;

        if (!network)
                return FALSE;
        n = virNetworkGetDHCPLeases(network, request->mac, &leases, 0);
        if (n < 0) {
                set_client_error(err, "virNetworkGetDHCPLeases");
                return FALSE;
        }
        request->addresses = g_ptr_array_new_with_free_func(address_free);
        for (int i = 0; i < n; i++)
                take_lease(request->addresses, leases[i]);
        free(leases);
        return TRUE;
}

static const NeighbourOps lease_ops = { .run = run_leases, .clear = request_clear };

GPtrArray *network_get_leases(LibvirtClient *client, const char *name, const guint8 mac[6], GError **err) {
        g_autoptr(Request) request = request_new(name, NULL);
        char text[18];

        domain_mac_format(mac, text);
        request->mac = g_strdup(text);
        return neighbour_call(client->network, &lease_ops, request, err) ? g_steal_pointer(&request->addresses) : NULL;
}

/* --- Volumes ----------------------------------------------------------------------------------- */

static gboolean run_path(gpointer data, GError **err) {
        Request *request = data;
        g_autoptr(Connection) connection = client_open(STORAGE_URI, err);
        g_autoptr(StoragePool) pool = connection ? virStoragePoolLookupByName(connection, request->pool) : NULL;
        g_autoptr(StorageVolume) volume = pool ? virStorageVolLookupByName(pool, request->volume) : NULL;
        char *path = volume ? virStorageVolGetPath(volume) : NULL;

        if (!connection)
                return FALSE;
        if (!path) {
                set_client_error(err, "virStorageVolGetPath");
                return FALSE;
        }
        request->text = g_strdup(path);
        free(path);
        return TRUE;
}

static const NeighbourOps path_ops = { .run = run_path, .clear = request_clear };

char *storage_volume_path(LibvirtClient *client, const char *pool, const char *volume, GError **err) {
        g_autoptr(Request) request = request_new(NULL, NULL);

        request->pool = g_strdup(pool);
        request->volume = g_strdup(volume);
        return neighbour_call(client->storage, &path_ops, request, err) ? g_steal_pointer(&request->text) : NULL;
}
