/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strings and arrays of the wire, for the generated code (meson.build renames its calls).
 * libtirpc allocates what a packet announces before checking that it arrived, so forty
 * bytes could cost megabytes for a moment, on every worker. Here a length is first compared
 * with the rest of the packet.
 */
#include <rpc/rpc.h>
#include <string.h>

#include "rpc/packet.h"

bool_t rpc_xdr_string(XDR *xdr, char **text, u_int max);
bool_t rpc_xdr_bytes(XDR *xdr, char **bytes, u_int *size, u_int max);
bool_t rpc_xdr_array(XDR *xdr, caddr_t *array, u_int *n, u_int max, u_int element_size, xdrproc_t element);

/* Whether the next count, of items of at least `least` bytes on the wire, can be true. */
static gboolean count_fits(const XDR *xdr, gsize least) {
        guint32 count;
        if (xdr->x_op != XDR_DECODE)
                return TRUE;
        if (xdr->x_handy < sizeof(count)) /* bytes left, as all streams here are memory */
                return FALSE;
        memcpy(&count, xdr->x_private, sizeof(count));
        return GUINT32_FROM_BE(count) <= (xdr->x_handy - sizeof(count)) / least;
}

bool_t rpc_xdr_string(XDR *xdr, char **text, u_int max) {
        return count_fits(xdr, 1) && xdr_string(xdr, text, max);
}

bool_t rpc_xdr_bytes(XDR *xdr, char **bytes, u_int *size, u_int max) {
        return count_fits(xdr, 1) && xdr_bytes(xdr, bytes, size, max);
}

/* Everything has at least four bytes on the wire. */
bool_t rpc_xdr_array(XDR *xdr, caddr_t *array, u_int *n, u_int max, u_int element_size, xdrproc_t element) {
        return count_fits(xdr, 4) && xdr_array(xdr, array, n, max, element_size, element);
}
