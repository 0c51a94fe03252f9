/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An error with a sentence for the operator, as requests of the control protocol are answered.
 */
#pragma once

#include "../ctl/ctl.h"

/* Prints the sentence to `text` and returns `error`. */
int fail(char text[static CTL_TEXT_MAX], int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
