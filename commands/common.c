#include "commands/common.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/npy.h"
#include "base/rng.h"
#include "datasets/dataset.h"
#include "engine/model_path.h"
#include "store/seal.h"

bool common_argv(const struct option *table, void *param, const char *usage, const char *about,
                 int argc, char **argv, struct err *e) {
    int n_args;
    option_defaults(table, param);
    if (!option_argv(table, param, usage, about, argc, argv, &n_args, e))
        return false;
    return !n_args || err_set(e, EXIT_USAGE, "unexpected argument '%s'; usage: %s", argv[0], usage);
}

/* --- model and session ----------------------------------------------------------- */

const char *common_db(const char *path) { return path ? path : COMMON_RESULTS "/raas.db"; }

struct db *common_answers(const char *path, struct err *e) {
    int64_t broken = 0, unsealed;
    struct err damage = {0}; /* is met again, or not, by who reads on */
    struct db *db = db_open(common_db(path), DB_READ, e);
    if (db && seal_check(db, &broken, &unsealed, &damage) && broken)
        log_warn("%s: %lld answers were altered since they were stored, and count as they are now",
                 common_db(path), (long long)broken);
    return db;
}

bool common_db_exists(const char *path, struct err *e) {
    return access(common_db(path), F_OK) == 0 ||
           err_set(e, EXIT_USAGE, "%s: no such database; `raas run` makes one", common_db(path));
}

void common_run_end(struct db *db, int64_t run, const struct err *e) {
    struct err late = {0};
    enum db_status status = !e->code                 ? DB_FINISHED
                            : e->code == EXIT_SIGNAL ? DB_STOPPED
                                                     : DB_INCOMPLETE;
    if (run && !db_run_finish(db, run, status, &late))
        log_warn("the run stays 'running' in the database: %s", late.text);
}

struct model *common_model(const struct common *common, struct err *e) {
    char embedded[PATH_MAX];
    const char *path = model_path_or_default(common->model, embedded, sizeof embedded, e);
    return path ? model_open(path, e) : NULL;
}

struct session *common_session(const struct common *common, const struct model *model, int width,
                               int max_total, struct err *e) {
    bool cpu = common->backend == 0;
    enum precision precision = common->precision != COMMON_AUTO ? (enum precision)common->precision
                               : cpu                            ? PRECISION_FP32
                                                                : PRECISION_BF16;
    uint64_t sequence = session_kv_bytes(model, precision, max_total);
    uint64_t spare = cpu ? machine_free_memory() / 2 : 0;
    while (width > 1 && spare && (uint64_t)width * sequence > spare)
        width--;
    struct session_params params = {
        .backend = session_backend(common->backend),
        .precision = precision,
        .n_threads = (int)common->threads,
        .width = width,
        .max_total = max_total,
        .isa = common->isa,
    };
    return session_open_fitting(model, &params, e);
}

struct session *common_open(void *context, int width, int max_total, struct err *e) {
    const struct common_opener *o = context;
    return common_session(o->common, o->model, width, max_total, e);
}

void common_seeded(const char *text, int64_t seed, char *out, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text);
    const struct dataset *dataset = dataset_find(name);
    bool seeded = false;
    for (const struct option *o = dataset ? dataset->options : NULL; o && o->name; o++)
        seeded = seeded || !strcmp(o->name, "seed");
    if (seeded && !strstr(text, "seed="))
        snprintf(out, size, "%s%cseed=%lld", text, strchr(text, ':') ? ',' : ':', (long long)seed);
    else
        snprintf(out, size, "%s", text);
}

uint64_t common_key(int64_t seed, int place) {
    return rng_key(rng_key(rng_mix((uint64_t)seed), (uint64_t)place), 0);
}

/* --- input -------------------------------------------------------------------------- */

#define LARGEST_INPUT ((size_t)1 << 30)

static char *read_stdin(size_t *size, struct err *e) {
    size_t room = 1 << 16;
    char *text = must_alloc(room);
    *size = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, text + *size, room - 1 - *size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            text[*size] = 0;
            if (n == 0 || err_errno(e, EXIT_ENV, "stdin cannot be read"))
                return text;
            break;
        }
        *size += (size_t)n;
        if (*size > LARGEST_INPUT) {
            err_set(e, EXIT_CONTENT, "stdin: larger than 1 GiB");
            break;
        }
        if (*size + 1 == room)
            text = must_realloc(text, room *= 2);
    }
    free(text);
    return NULL;
}

char *common_read(const char *path, size_t *size, struct err *e) {
    return strcmp(path, "-") ? file_read(path, LARGEST_INPUT, size, e) : read_stdin(size, e);
}

bool common_check_ids(const struct model *model, const int32_t *ids, size_t n, const char *what,
                      int code, struct err *e) {
    if (n == 0)
        return err_set(e, code, "%s: empty, expected at least one token", what);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= model->config.vocab)
            return err_set(e, code, "%s: id %" PRId32 " at place %zu, expected 0 to %d", what,
                           ids[i], i, model->config.vocab - 1);
    if (n > (size_t)model->config.max_positions)
        return err_set(e, code, "%s: %zu tokens, this model takes at most %d", what, n,
                       model->config.max_positions);
    return true;
}

static bool ids_of_npy(const char *path, struct id_list *ids, struct err *e) {
    struct npy npy;
    if (access(path, F_OK) != 0)
        return err_errno(e, EXIT_USAGE, "%s", path);
    if (!npy_read(path, &npy, e))
        return false;
    bool narrow = !strcmp(npy.type, "i4"),
         ok = npy.rank == 1 && (narrow || !strcmp(npy.type, "i8"));
    for (size_t i = 0; ok && i < npy.shape[0]; i++) {
        int64_t id = narrow ? ((const int32_t *)npy.data)[i] : ((const int64_t *)npy.data)[i];
        if (id < 0 || id > INT32_MAX)
            ok = err_set(e, EXIT_CONTENT, "%s: %" PRId64 " at place %zu is no token id", path, id,
                         i);
        else
            id_list_add(ids, (int32_t)id);
    }
    npy_free(&npy);
    return ok || err_set(e, EXIT_CONTENT, "%s: expected one axis of i4 or i8", path);
}

/* Numbers separated by commas, in a file also by blanks. */
static bool ids_of_text(const char *text, const char *blanks, const char *what, int code,
                        struct id_list *ids, struct err *e) {
    for (const char *at = text + strspn(text, blanks); *at;) {
        size_t digits = strspn(at, "0123456789"), gap = strspn(at + digits, blanks);
        const char *next = at + digits + gap;
        /* ten digits may pass INT32_MAX but not int64_t */
        int64_t id = digits && digits <= 10 ? strtoll(at, NULL, 10) : INT64_MAX;
        bool ends = !*next || *next == ',' || gap;
        if (id > INT32_MAX || !ends)
            return err_set(e, code, "%s: byte %zu: expected a token id, got '%.*s'", what,
                           (size_t)(at - text), (int)strcspn(at, ", \t\r\n"), at);
        id_list_add(ids, (int32_t)id);
        if (*next == ',') {
            next++;
            next += strspn(next, blanks);
            if (!*next)
                return err_set(e, code, "%s: a number is missing behind the last comma", what);
        }
        at = next;
    }
    return true;
}

bool common_ids(const char *text, const struct model *model, struct id_list *ids, struct err *e) {
    size_t n = strlen(text), size;
    if (n > 4 && !strcmp(text + n - 4, ".npy"))
        return ids_of_npy(text, ids, e) &&
               common_check_ids(model, ids->ids, ids->count, text, EXIT_CONTENT, e);
    if (*text != '@')
        return ids_of_text(text, "", "--ids", EXIT_USAGE, ids, e) &&
               common_check_ids(model, ids->ids, ids->count, "--ids", EXIT_USAGE, e);
    char *list = common_read(text + 1, &size, e);
    bool ok = list && (strlen(list) == size ||
                       err_set(e, EXIT_CONTENT, "%s: byte %zu is 0", text + 1, strlen(list)));
    ok = ok && ids_of_text(list, " \t\r\n", text + 1, EXIT_CONTENT, ids, e) &&
         common_check_ids(model, ids->ids, ids->count, text + 1, EXIT_CONTENT, e);
    free(list);
    return ok;
}
