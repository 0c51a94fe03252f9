/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dbus/bus_call.h"

#include "dbus/names.h"

BusCall *bus_call_new(GDBusConnection *bus, GDBusMessage *message) {
        BusCall *call = g_new0(BusCall, 1);

        call->bus = g_object_ref(bus);
        call->message = message;
        return call;
}

void bus_call_free(BusCall *call) {
        if (!call)
                return;
        g_object_unref(call->message);
        g_object_unref(call->bus);
        g_free(call);
}

/* Takes both. Sends nothing on a connection that has ended. */
static void answer(BusCall *call, GDBusMessage *reply) {
        GVariant *body = g_dbus_message_get_body(reply);
        gboolean wanted = !(g_dbus_message_get_flags(call->message) & G_DBUS_MESSAGE_FLAGS_NO_REPLY_EXPECTED);

        if (wanted && call->sent)
                *call->sent += body ? g_variant_get_size(body) : 0;
        if (wanted)
                (void) g_dbus_connection_send_message(call->bus, reply, G_DBUS_SEND_MESSAGE_FLAGS_NONE, NULL, NULL);
        g_object_unref(reply);
        bus_call_free(call);
}

void bus_call_return(BusCall *call, GVariant *body) {
        GDBusMessage *reply = g_dbus_message_new_method_reply(call->message);

        if (body)
                g_dbus_message_set_body(reply, body);
        answer(call, reply);
}

void bus_call_fail(BusCall *call, const char *name, const char *text) {
        answer(call, g_dbus_message_new_method_error_literal(call->message, name, text));
}

void bus_call_fail_error(BusCall *call, const GError *err) {
        bus_call_fail(call, bus_error_name(err), err->message);
}

static const char *text_or_empty(const char *text) {
        return text ? text : "";
}

const char *bus_call_path(const BusCall *call) {
        return text_or_empty(g_dbus_message_get_path(call->message));
}

const char *bus_call_interface(const BusCall *call) {
        return text_or_empty(g_dbus_message_get_interface(call->message));
}

const char *bus_call_member(const BusCall *call) {
        return text_or_empty(g_dbus_message_get_member(call->message));
}

const char *bus_call_sender(const BusCall *call) {
        return text_or_empty(g_dbus_message_get_sender(call->message));
}

GVariant *bus_call_arguments(const BusCall *call) {
        GVariant *body = g_dbus_message_get_body(call->message);

        return body ? g_variant_ref(body) : g_variant_ref_sink(g_variant_new_tuple(NULL, 0));
}
