/* What option.c shares with option_argv.c alone. */
#pragma once

#include "base/option.h"

#define OPTION_VALUE_TEXT 256

/* Words for what a row accepts: "a whole number from 16 to 4096". */
void option_expected(const struct option *o, char *out, size_t size);

/* Sets one field from text; errors begin with `label` ("policy raas: budget", "raas run: --limit").
 */
bool option_assign(const struct option *o, void *param, const char *label, const char *value,
                   struct err *e);

/* Spells the field's value ("" for TEXT and LIST); returns whether it differs from the default. */
bool option_value(const struct option *o, const void *param, char out[OPTION_VALUE_TEXT]);
