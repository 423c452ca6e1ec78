#include "base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/option_text.h"
#include "base/real.h"

static void *field(const struct option *o, void *param) { return (char *)param + o->offset; }
static const void *const_field(const struct option *o, const void *param) {
    return (const char *)param + o->offset;
}

void option_defaults(const struct option *table, void *param) {
    for (const struct option *o = table; o->name; o++) {
        void *at = field(o, param);
        switch (o->type) {
        case OPTION_INT:
            *(int64_t *)at = (int64_t)o->standard;
            break;
        case OPTION_REAL:
            *(double *)at = o->standard;
            break;
        case OPTION_BOOL:
            *(bool *)at = o->standard != 0;
            break;
        case OPTION_CHOICE:
            *(int *)at = (int)o->standard;
            break;
        case OPTION_TEXT:
            *(const char **)at = NULL;
            break;
        case OPTION_STRING:
            *(char *)at = 0;
            break;
        case OPTION_LIST:
            ((struct option_list *)at)->count = 0;
            break;
        }
    }
}

/* --- choices ---------------------------------------------------------------- */

const char *option_choice(const char *choices, int index, size_t *size) {
    const char *at = choices;
    for (; index > 0 && *at; index--) {
        at += strcspn(at, "|");
        at += *at == '|';
    }
    *size = strcspn(at, "|");
    return at;
}

static int choice_index(const char *choices, const char *value) {
    size_t size, want = strlen(value);
    for (int i = 0;; i++) {
        const char *name = option_choice(choices, i, &size);
        if (!size)
            return -1;
        if (size == want && !memcmp(name, value, size))
            return i;
    }
}

/* --- setting ------------------------------------------------------------------ */

void option_expected(const struct option *o, char *out, size_t size) {
    char lo[REAL_TEXT], hi[REAL_TEXT];
    real_spell(o->min, lo);
    real_spell(o->max, hi);
    switch (o->type) {
    case OPTION_INT:
        snprintf(out, size, "a whole number from %s to %s", lo, hi);
        break;
    case OPTION_REAL:
        snprintf(out, size, "a number from %s to %s", lo, hi);
        break;
    case OPTION_BOOL:
        snprintf(out, size, "0 or 1");
        break;
    case OPTION_CHOICE:
        snprintf(out, size, "one of %s", o->choices);
        break;
    case OPTION_STRING:
        snprintf(out, size, "a text of at most %d bytes", OPTION_STRING_ROOM - 1);
        break;
    case OPTION_TEXT:
    case OPTION_LIST:
        snprintf(out, size, "a text");
        break;
    }
}

/* strtoll alone would take leading spaces and stop at the first letter. */
static bool parse_int(const char *text, int64_t *out) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

static bool set_list(struct option_list *list, const char *value) {
    if (!*value || list->count == OPTION_LIST_MAX)
        return false;
    list->items[list->count++] = value;
    return true;
}

/* As a double a number beyond 2^53 can look like a bound that it is beyond. */
static bool within(int64_t n, const struct option *o) {
    double x = (double)n;
    return x >= o->min && x <= o->max && (x < o->max || o->max >= 0x1p63 || n <= (int64_t)o->max) &&
           (x > o->min || o->min <= -0x1p63 || n >= (int64_t)o->min);
}

static bool set_field(const struct option *o, void *at, const char *value) {
    int64_t whole;
    double real;
    int index;
    switch (o->type) {
    case OPTION_INT:
        if (!parse_int(value, &whole) || !within(whole, o))
            return false;
        *(int64_t *)at = whole;
        return true;
    case OPTION_REAL:
        if (!real_parse(value, &real) || real < o->min || real > o->max)
            return false;
        *(double *)at = real;
        return true;
    case OPTION_BOOL:
        if (strcmp(value, "0") && strcmp(value, "1"))
            return false;
        *(bool *)at = *value == '1';
        return true;
    case OPTION_CHOICE:
        index = choice_index(o->choices, value);
        if (index < 0)
            return false;
        *(int *)at = index;
        return true;
    case OPTION_TEXT:
        if (!*value)
            return false;
        *(const char **)at = value;
        return true;
    case OPTION_STRING:
        if (strlen(value) >= OPTION_STRING_ROOM)
            return false;
        strcpy(at, value);
        return true;
    case OPTION_LIST:
        return set_list(at, value);
    }
    return false;
}

bool option_assign(const struct option *o, void *param, const char *label, const char *value,
                   struct err *e) {
    if (set_field(o, field(o, param), value))
        return true;
    if (o->type == OPTION_LIST && *value)
        return err_set(e, EXIT_USAGE, "%s: given more than %d times", label, OPTION_LIST_MAX);
    char expected[300];
    option_expected(o, expected, sizeof expected);
    return err_set(e, EXIT_USAGE, "%s: expected %s, got '%s'", label, expected, value);
}

static bool unknown_key(const struct option *table, const char *what, const char *key,
                        struct err *e) {
    char known[600] = "";
    for (; table->name; table++)
        err_list(known, sizeof known, table->name);
    return err_set(e, EXIT_USAGE, "%s: unknown option '%s'; known: %s", what, key,
                   *known ? known : "none");
}

static const struct option *find(const struct option *table, const char *key) {
    for (; table->name; table++)
        if (!strcmp(table->name, key))
            return table;
    return NULL;
}

bool option_set(const struct option *table, void *param, const char *what, const char *key,
                const char *value, struct err *e) {
    const struct option *o = find(table, key);
    if (!o)
        return unknown_key(table, what, key, e);
    char label[300];
    snprintf(label, sizeof label, "%s: %s", what, key);
    return option_assign(o, param, label, value, e);
}

/* One "key=value"; `seen` marks the rows already set. */
static bool parse_pair(const struct option *table, void *param, const char *what, char *pair,
                       uint64_t *seen, struct err *e) {
    char *equals = strchr(pair, '=');
    if (!equals)
        return err_set(
            e, EXIT_USAGE,
            "%s: expected key=value, got '%s'; a comma inside a value is written \\, or, "
            "in JSON, as it is: {\"path\": \"a,b\"}",
            what, pair);
    *equals = 0;
    const struct option *o = find(table, pair);
    if (o && (o->type == OPTION_TEXT || o->type == OPTION_LIST))
        return err_set(e, EXIT_USAGE, "%s: %s cannot be set inside key=value text", what, pair);
    if (o) {
        CHECK(o - table < 64);
        uint64_t bit = (uint64_t)1 << (o - table);
        if (*seen & bit)
            return err_set(e, EXIT_USAGE, "%s: %s is given twice", what, pair);
        *seen |= bit;
    }
    return option_set(table, param, what, pair, equals + 1, e);
}

/* The comma that ends a pair; those behind a backslash belong to it, and lose that. NULL: none. */
static char *end_of_pair(char *pair) {
    char *to = pair, *from = pair;
    for (; *from && *from != ','; from++) {
        if (*from == '\\' && from[1] == ',')
            from++;
        *to++ = *from;
    }
    bool comma = *from == ',';
    *to = 0;
    return comma ? from : NULL;
}

bool option_parse(const struct option *table, void *param, const char *what, const char *text,
                  struct err *e) {
    char *copy = must_strdup(text);
    uint64_t seen = 0;
    bool ok = true;
    for (char *pair = copy; ok && *text && pair;) {
        char *comma = end_of_pair(pair);
        ok = parse_pair(table, param, what, pair, &seen, e);
        pair = comma ? comma + 1 : NULL;
    }
    free(copy);
    return ok;
}

/* --- spelling ------------------------------------------------------------------ */

/* The value's text; false where the field holds its default. TEXT and LIST give their pointers
 * elsewhere. */
bool option_value(const struct option *o, const void *param, char out[OPTION_VALUE_TEXT]) {
    const void *at = const_field(o, param);
    size_t size;
    const char *name;
    switch (o->type) {
    case OPTION_INT:
        snprintf(out, OPTION_VALUE_TEXT, "%" PRId64, *(const int64_t *)at);
        return *(const int64_t *)at != (int64_t)o->standard;
    case OPTION_REAL:
        real_spell(*(const double *)at, out);
        return *(const double *)at != o->standard;
    case OPTION_BOOL:
        snprintf(out, OPTION_VALUE_TEXT, "%d", *(const bool *)at);
        return *(const bool *)at != (o->standard != 0);
    case OPTION_CHOICE:
        name = option_choice(o->choices, *(const int *)at, &size);
        snprintf(out, OPTION_VALUE_TEXT, "%.*s", (int)size, name);
        return *(const int *)at != (int)o->standard;
    case OPTION_STRING:
        snprintf(out, OPTION_VALUE_TEXT, "%s", (const char *)at);
        return *(const char *)at != 0;
    case OPTION_TEXT:
    case OPTION_LIST:
        break;
    }
    out[0] = 0;
    return false;
}

size_t option_spell(const struct option *table, const void *param, const char *skip, char *out,
                    size_t size) {
    CHECK(size > 0);
    size_t length = 0;
    out[0] = 0;
    for (const struct option *o = table; o->name; o++) {
        char value[OPTION_VALUE_TEXT];
        if ((skip && !strcmp(o->name, skip)) || !option_value(o, param, value))
            continue;
        size_t used = length < size ? length : size - 1;
        length +=
            (size_t)snprintf(out + used, size - used, "%s%s=%s", length ? "," : "", o->name, value);
    }
    return length;
}

static void put_value(struct json_out *json, const struct option *o, const void *param) {
    const void *at = const_field(o, param);
    char value[OPTION_VALUE_TEXT];
    option_value(o, param, value);
    switch (o->type) {
    case OPTION_REAL:
        json_put_real(json, *(const double *)at);
        break;
    case OPTION_INT:
        json_put_raw(json, value);
        break;
    case OPTION_BOOL:
        json_put_bool(json, *(const bool *)at);
        break;
    case OPTION_CHOICE:
    case OPTION_STRING:
        json_put_text(json, value);
        break;
    case OPTION_TEXT:
        if (*(const char *const *)at)
            json_put_text(json, *(const char *const *)at);
        else
            json_put_null(json);
        break;
    case OPTION_LIST: {
        const struct option_list *list = at;
        json_open(json, '[');
        for (int i = 0; i < list->count; i++)
            json_put_text(json, list->items[i]);
        json_close(json, ']');
        break;
    }
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const struct option *const *)a)->name,
                  (*(const struct option *const *)b)->name);
}

size_t option_json(const struct option *table, const void *param, char *out, size_t size) {
    CHECK(size > 0);
    const struct option *sorted[64];
    size_t n = 0;
    for (; table[n].name; n++) {
        CHECK(n < 64);
        sorted[n] = &table[n];
    }
    qsort(sorted, n, sizeof *sorted, by_name);
    struct json_out json = {0};
    json_open(&json, '{');
    for (size_t i = 0; i < n; i++) {
        json_name(&json, sorted[i]->name);
        put_value(&json, sorted[i], param);
    }
    json_close(&json, '}');
    size_t length = json.size;
    snprintf(out, size, "%s", json.text);
    free(json.text);
    return length;
}
