/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sentence that is too long is cut.
 */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>

int fail(char text[static CTL_TEXT_MAX], int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, CTL_TEXT_MAX, format, ap);
        va_end(ap);
        return error;
}
