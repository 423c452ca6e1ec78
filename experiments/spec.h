/* Specs in JSON: "name:key=value,key=value" or {"policy": "name", "key": value or list of values}.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

enum { SPEC_MAX = 512 };

/* A number, bool or string as an option's text; false for anything else or if it does not fit. */
bool spec_scalar(const struct json *value, char *out, size_t size);

/* Walks a list; a value that is no list counts as a list of one. */
const struct json *spec_first(const struct json *list);
const struct json *spec_next(const struct json *list, const struct json *at);

/* Called with each spec in the text form; false stops. */
typedef bool spec_take(void *context, const char *spec, struct err *e);

/* Takes every spec that `entry` stands for: one for a string, the product of its lists for an
 * object, whose key `head`
 * ("policy", "dataset") holds the name. Errors are EXIT_CONTENT. */
bool spec_expand(const struct json *entry, const char *head, spec_take *take, void *context,
                 struct err *e);
