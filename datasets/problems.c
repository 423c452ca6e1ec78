#include "datasets/problems.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/json.h"
#include "base/log.h"

enum { LARGEST = 256 << 20, LONGEST_LINE = 1 << 20 };

struct entry {
    char id[64];
    bool id_changed;                    /* characters of the file's were replaced or cut off */
    char *question, *answer, *solution; /* solution may be NULL */
    size_t line;
};

/* A file that was read; kept until the process ends. */
struct loaded {
    const struct problem_source *source;
    char *path;
    char sha256[HASH_HEX];
    struct entry *entries;
    size_t n, room;
    struct loaded *next;
};
static struct loaded *all_loaded;

/* --- one line --------------------------------------------------------------------------------- */

static const struct json *find_field(const struct json *line,
                                     const char *const names[FIELD_NAMES]) {
    for (int i = 0; i < FIELD_NAMES && names[i]; i++) {
        const struct json *value = json_get(line, names[i]);
        if (value && json_type(value) != JSON_NULL)
            return value;
    }
    return NULL;
}

/* A text, or a whole number as one; malloc'd. NULL: neither. */
static char *field_text(const struct json *value) {
    int64_t whole;
    char digits[32];
    if (json_type(value) == JSON_STRING)
        return json_text(value) ? must_strdup(json_text(value)) : NULL;
    if (!json_integer(value, INT64_MIN, INT64_MAX, &whole))
        return NULL;
    snprintf(digits, sizeof digits, "%lld", (long long)whole);
    return must_strdup(digits);
}

static bool take_field(const struct json *line, const char *const names[FIELD_NAMES], bool needed,
                       const char *place, char **out, struct err *e) {
    const struct json *value = find_field(line, names);
    if (!value && !needed)
        return true;
    char list[120] = "";
    for (int i = 0; i < FIELD_NAMES && names[i]; i++)
        err_list(list, sizeof list, names[i]);
    if (!value)
        return err_set(e, EXIT_CONTENT, "%s: expected one of the fields %s", place, list);
    *out = field_text(value);
    if (!*out)
        return err_set(e, EXIT_CONTENT, "%s: %s: expected a text without U+0000, or a whole number",
                       place, list);
    return **out || !needed ||
           err_set(e, EXIT_CONTENT, "%s: %s: expected a text, found none", place, list);
}

/* "test/algebra/1.json" as an id: only characters that file names and keys can hold. */
static void make_id(const char *dataset, const char *said, size_t number, struct entry *entry) {
    char *out = entry->id;
    if (!said) {
        snprintf(out, sizeof entry->id, "%s-%zu", dataset, number);
        return;
    }
    int n = snprintf(out, sizeof entry->id, "%s-%s", dataset, said);
    entry->id_changed = n >= (int)sizeof entry->id;
    for (int i = 0; out[i]; i++)
        if (!isalnum((unsigned char)out[i]) && !strchr("._-", out[i])) {
            out[i] = '-';
            entry->id_changed = true;
        }
}

/* The answer field becomes gold. */
static bool keep_gold(const struct problem_source *source, struct entry *entry, const char *place,
                      struct err *e) {
    if (!source->gold)
        return true;
    char *gold = source->gold(entry->answer);
    free(entry->answer);
    entry->answer = gold;
    return gold || err_set(e, EXIT_CONTENT, "%s: %s: expected %s", place, source->fields->answer[0],
                           source->gold_is);
}

static bool take_line(struct loaded *l, const struct json *line, const char *place, size_t number,
                      struct err *e) {
    const struct problem_fields *fields = l->source->fields;
    if (json_type(line) != JSON_OBJECT)
        return err_set(e, EXIT_CONTENT, "%s: expected an object", place);
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 512;
        l->entries = must_realloc(l->entries, l->room * sizeof *l->entries);
    }
    struct entry *entry = &l->entries[l->n++];
    *entry = (struct entry){.line = number};
    char *id = NULL;
    bool ok = take_field(line, fields->question, true, place, &entry->question, e) &&
              take_field(line, fields->answer, true, place, &entry->answer, e) &&
              take_field(line, fields->solution, false, place, &entry->solution, e) &&
              take_field(line, fields->id, false, place, &id, e);
    if (ok) {
        make_id(l->source->dataset, id && *id ? id : NULL, l->n - 1, entry);
        ok = keep_gold(l->source, entry, place, e);
    }
    free(id);
    return ok;
}

/* --- one file --------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static bool same_id(const struct loaded *l, const struct entry *first, const struct entry *again,
                    struct err *e) {
    if (first->id_changed || again->id_changed)
        return err_set(
            e, EXIT_CONTENT,
            "%s: line %zu: its id becomes %s, as that of line %zu does: expected ids that "
            "differ in letters, digits, '.', '_' or '-' of 63 characters in all",
            l->path, again->line, again->id, first->line);
    return err_set(e, EXIT_CONTENT, "%s: line %zu: problem %s stands in line %zu already", l->path,
                   again->line, again->id, first->line);
}

static bool check_ids(const struct loaded *l, struct err *e) {
    const struct entry **sorted = must_alloc(l->n * sizeof *sorted);
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = &l->entries[i];
    qsort(sorted, l->n, sizeof *sorted, by_id);
    bool ok = true;
    for (size_t i = 1; ok && i < l->n; i++)
        if (!strcmp(sorted[i - 1]->id, sorted[i]->id))
            ok = same_id(l, sorted[i - 1], sorted[i], e);
    free(sorted);
    return ok;
}

static bool is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)s[i]))
            return false;
    return true;
}

static bool read_line(struct loaded *l, const char *text, size_t size, size_t number,
                      struct err *e) {
    char place[PATH_MAX + 40];
    snprintf(place, sizeof place, "%s: line %zu", l->path, number);
    if (size > LONGEST_LINE)
        return err_set(e, EXIT_CONTENT, "%s: expected at most %d bytes, found %zu", place,
                       LONGEST_LINE, size);
    if (is_blank(text, size))
        return err_set(e, EXIT_CONTENT, "%s: expected an object, found an empty line", place);
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        return err_set(e, EXIT_CONTENT, "%s: begins with a byte-order mark; expected none", place);
    char name[PATH_MAX + 60];
    snprintf(name, sizeof name, "line %zu of %s", number, l->path);
    struct json_doc *doc = json_parse(text, size, name, e);
    bool ok = doc && take_line(l, json_root(doc), place, number, e);
    json_free(doc);
    return ok;
}

static bool read_lines(struct loaded *l, const char *text, size_t size, struct err *e) {
    size_t number = 1;
    bool ok = true;
    for (size_t from = 0; ok && from < size; number++) {
        const char *end = memchr(text + from, '\n', size - from);
        size_t to = end ? (size_t)(end - text) : size;
        ok = read_line(l, text + from, to - from, number, e);
        from = to + 1;
    }
    if (ok && !l->n)
        return err_set(e, EXIT_CONTENT, "%s: expected problems, found an empty file", l->path);
    return ok && check_ids(l, e);
}

static void loaded_free(struct loaded *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->entries[i].question);
        free(l->entries[i].answer);
        free(l->entries[i].solution);
    }
    free(l->entries);
    free(l->path);
    free(l);
}

static bool is_known(const struct problem_file *file, const char *sha256) {
    return (file->sha256 && !strcmp(file->sha256, sha256)) ||
           (file->other_sha256 && !strcmp(file->other_sha256, sha256));
}

/* Where the file is looked for: path, or the standard place. false where it does not fit. */
static bool find_path(const struct problem_file *file, const char *path, char *out, size_t size) {
    const char *folder = getenv("RAAS_DATA");
    if (*path)
        return (size_t)snprintf(out, size, "%s", path) < size;
    if (folder && *folder)
        return (size_t)snprintf(out, size, "%s/%s", folder, file->name) < size;
    char below[PATH_MAX];
    snprintf(below, sizeof below, DATA_FOLDER "/%s", file->name);
    return home_find(below, out, size) || (size_t)snprintf(out, size, "%s", below) < size;
}

static struct loaded *load(const struct problem_source *source, const struct problem_file *file,
                           const char *path, struct err *e) {
    size_t size;
    struct err why = {0};
    char *text = file_read(path, LARGEST, &size, &why);
    if (!text && why.code == EXIT_USAGE)
        err_set(e, why.code,
                "%s; `raas fetch dataset %s` says where it is to be had, option path= takes "
                "another place",
                why.text, file->fetch);
    else if (!text)
        *e = why;
    if (!text)
        return NULL;
    struct loaded *l = must_zalloc(1, sizeof *l);
    l->source = source;
    l->path = must_strdup(path);
    hash_bytes(text, size, l->sha256);
    bool ok = read_lines(l, text, size, e);
    free(text);
    if (!ok) {
        loaded_free(l);
        return NULL;
    }
    if (!is_known(file, l->sha256))
        log_warn("%s: SHA-256 %s is that of no known file of %s; results carry it", path, l->sha256,
                 source->dataset);
    l->next = all_loaded;
    return all_loaded = l;
}

static const struct loaded *find(const struct problem_source *source,
                                 const struct problem_param *param, struct err *e) {
    const struct problem_file *file = &source->files[param->file];
    char where[PATH_MAX];
    if (!find_path(file, param->path, where, sizeof where)) {
        err_set(e, EXIT_USAGE, "path of dataset %s: longer than %d bytes", source->dataset,
                PATH_MAX);
        return NULL;
    }
    for (struct loaded *l = all_loaded; l; l = l->next)
        if (l->source == source && !strcmp(l->path, where))
            return l;
    return load(source, file, where, e);
}

/* --- for datasets ----------------------------------------------------------------------------- */

int64_t problems_count(const struct problem_source *source, const struct problem_param *param,
                       struct err *e) {
    const struct loaded *l = find(source, param, e);
    return l ? (int64_t)l->n : -1;
}

bool problems_sha256(const struct problem_source *source, const struct problem_param *param,
                     char out[HASH_HEX], struct err *e) {
    const struct loaded *l = find(source, param, e);
    if (l)
        memcpy(out, l->sha256, HASH_HEX);
    return l;
}

bool problems_get(const struct problem_source *source, const struct problem_param *param, int64_t i,
                  struct problem *out, struct err *e) {
    const struct loaded *l = find(source, param, e);
    if (!l)
        return false;
    if (i < 0 || i >= (int64_t)l->n)
        return err_set(e, EXIT_USAGE, "%s: problem %lld: expected 0 to %zu", source->dataset,
                       (long long)i, l->n - 1);
    const struct entry *entry = &l->entries[i];
    const struct prompt_variant *variant = &source->variants[param->variant];
    *out = (struct problem){0};
    memcpy(out->id, entry->id, sizeof out->id);
    size_t room = strlen(variant->before) + strlen(entry->question) + strlen(variant->after) + 1;
    out->prompt = must_alloc(room);
    snprintf(out->prompt, room, "%s%s%s", variant->before, entry->question, variant->after);
    out->answer = must_strdup(entry->answer);
    out->solution = entry->solution ? must_strdup(entry->solution) : NULL;
    return true;
}
