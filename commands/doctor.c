/* raas doctor: what this machine can do, and whether a results database or a file of attention is
 * whole. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <gnu/libc-version.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/machine.h"
#include "commands/command.h"
#include "commands/common.h"
#include "engine/cpu_kernels.h"
#include "engine/cuda_info.h"
#include "store/attn.h"
#include "store/db.h"
#include "store/seal.h"
#include "version.h"

enum state { FINE, LIMITED, BROKEN };
static const char *const state_names[] = {"ok", "limited", "broken"};

struct check {
    const char *name;
    enum state state;
    char text[1200];
};

struct checkup {
    struct check checks[16];
    int count;
    int code; /* exit code of the first thing broken */
};

static void note(struct checkup *up, const char *name, enum state state, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void note(struct checkup *up, const char *name, enum state state, const char *format, ...) {
    CHECK(up->count < (int)(sizeof up->checks / sizeof *up->checks));
    struct check *check = &up->checks[up->count++];
    check->name = name;
    check->state = state;
    va_list args;
    va_start(args, format);
    vsnprintf(check->text, sizeof check->text, format, args);
    va_end(args);
}

static void note_broken(struct checkup *up, const char *name, const struct err *e) {
    note(up, name, BROKEN, "%s", e->text);
    if (!up->code)
        up->code = e->code;
}

/* --- the checks ---------------------------------------------------------------------- */

static void check_processor(struct checkup *up) {
    char cpu[256], list[128] = "";
    machine_cpu(cpu, sizeof cpu);
    note(up, "processor", FINE, "%s, %d cores", cpu, machine_cores());
    for (const struct cpu_kernels *const *k = cpu_kernels_all(); *k; k++)
        err_list(list, sizeof list, (*k)->isa);
    const struct cpu_kernels *fast = cpu_kernels_find(NULL, NULL);
    note(up, "kernels", fast ? FINE : LIMITED, "%s; default %s", list,
         fast ? fast->isa : "fp32, no fast path on this processor");
}

static void check_space(struct checkup *up) {
    note(up, "memory", FINE, "%.1f GB free of %.1f GB", 1e-9 * (double)machine_free_memory(),
         1e-9 * (double)machine_memory());
    struct stat st;
    struct statvfs disk;
    struct err e = {0};
    const char *folder = stat("results", &st) == 0 ? "results" : ".";
    if (statvfs(folder, &disk) != 0 || access(folder, W_OK | X_OK) != 0) {
        err_errno(&e, EXIT_ENV, "%s: results cannot be written here", folder);
        note_broken(up, "results", &e);
        return;
    }
    double bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    note(up, "results", bytes < 1e8 ? LIMITED : FINE, "%s can be written, %.1f GB free",
         *folder == '.' ? "results (not made yet)" : "results", 1e-9 * bytes);
}

static void check_libraries(struct checkup *up) {
    char pcre2[64] = "unknown";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    note(up, "libraries", FINE, "SQLite %s, HDF5 %s, PCRE2 %.*s, utf8proc %s, %s, glibc %s",
         db_library(), attn_library(), (int)strcspn(pcre2, " "), pcre2, utf8proc_version(),
         OpenSSL_version(OPENSSL_VERSION), gnu_get_libc_version());
}

static void check_gnuplot(struct checkup *up) {
    char path[PATH_MAX];
    const char *folders = getenv("PATH");
    while (folders && *folders) {
        size_t n = strcspn(folders, ":");
        snprintf(path, sizeof path, "%.*s/gnuplot", (int)n, folders);
        if (access(path, X_OK) == 0) {
            note(up, "gnuplot", FINE, "%s", path);
            return;
        }
        folders += n + (folders[n] == ':');
    }
    note(up, "gnuplot", LIMITED, "not found, so figures cannot be drawn");
}

static void check_gpu(struct checkup *up) {
    enum { SHOWN = 8 };
    struct err e = {0};
    char text[400];
    int n = cuda_device_count(&e);
    if (n == 0)
        note(up, "gpu", LIMITED, "%s; models run on the processor", e.text);
    for (int i = 0; i < n && i < SHOWN; i++) {
        bool usable = cuda_device_text(i, text, sizeof text);
        note(up, "gpu", usable ? FINE : LIMITED, "%s", text);
    }
}

/* Whether the card names the SHA-256 of every file that decides an answer. */
static bool check_card(const char *folder, const char *card, struct err *e) {
    static const char *const files[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json"};
    char path[PATH_MAX], hash[HASH_HEX];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        if (!hash_file(path, hash, e))
            return false;
        if (!strstr(card, hash))
            return err_set(e, EXIT_CONTENT, "%s: changed, the card has not its hash %s", path,
                           hash);
    }
    return true;
}

static void check_model(struct checkup *up) {
    struct err e = {0};
    struct common common = {0};
    struct model *model = common_model(&common, &e);
    char path[PATH_MAX];
    size_t size;
    if (model)
        snprintf(path, sizeof path, "%s/README.md", model->path);
    char *card = model ? file_read(path, 1 << 20, &size, &e) : NULL;
    if (card && check_card(model->path, card, &e)) {
        const struct config *c = &model->config;
        note(up, "model", FINE, "%s: %s, %d layers, %d q heads, %d kv heads; files as in its card",
             model->path, c->arch->name, c->n_layers, c->n_heads, c->n_kv_heads);
    } else {
        note_broken(up, "model", &e);
    }
    free(card);
    model_close(model);
}

/* --- a database ------------------------------------------------------------------------ */

static bool count_rows(struct db *db, const char *table, int64_t *n, struct err *e) {
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    struct db_query *q = db_query(db, sql, e);
    bool ok = q && db_next(q, e);
    *n = ok ? db_int(q, 0) : 0;
    db_query_end(q);
    return ok;
}

static bool check_seals(struct db *db, const char *path, struct err *e) {
    int64_t broken, unsealed;
    if (!seal_check(db, &broken, &unsealed, e))
        return false;
    return broken == 0 ||
           err_set(e, EXIT_CONTENT, "%s: %lld answers were altered since they were stored", path,
                   (long long)broken);
}

static void check_database(struct checkup *up, const char *path) {
    static const char *const tables[] = {"result", "sample", "cell", "run", "model", "dataset"};
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    char text[400] = "";
    bool ok = db && db_verify(db, &e) && check_seals(db, path, &e);
    for (size_t i = 0; ok && i < sizeof tables / sizeof *tables; i++) {
        int64_t n;
        size_t used = strlen(text);
        ok = count_rows(db, tables[i], &n, &e);
        snprintf(text + used, sizeof text - used, "%s%s %lld", i ? ", " : "", tables[i],
                 (long long)n);
    }
    if (ok)
        note(up, "database", FINE, "%s: whole; rows: %s", path, text);
    else
        note_broken(up, "database", &e);
    db_close(db);
}

/* --- a file of attention --------------------------------------------------------------- */

static void check_attention(struct checkup *up, const char *path) {
    struct err e = {0};
    struct attn_reader *r = attn_verify(path, &e) ? attn_open(path, &e) : NULL;
    if (!r) {
        note_broken(up, "attention", &e);
        return;
    }
    const struct attn_info *i = attn_info(r);
    char *policy = attn_note(r, "policy"), *sample = attn_note(r, "sample");
    note(up, "attention", FINE,
         "%s: whole; %s of %s under %s: %d layers, %d heads, %d queries, %d keys", path,
         attn_modes(i), sample ? sample : "a sample", policy ? policy : "a policy", i->layers.n,
         i->heads.n, i->n_steps, i->n_keys);
    free(policy);
    free(sample);
    attn_close(r);
}

/* --- the command -------------------------------------------------------------------------- */

static void print_text(const struct checkup *up) {
    for (int i = 0; i < up->count; i++) {
        const struct check *c = &up->checks[i];
        printf("%-10s %-8s %s\n", c->name, state_names[c->state], c->text);
    }
}

static void print_json(const struct checkup *up) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_bool(&o, "ok", up->code == 0);
    json_name(&o, "checks");
    json_open(&o, '[');
    for (int i = 0; i < up->count; i++) {
        json_open(&o, '{');
        json_add_text(&o, "name", up->checks[i].name);
        json_add_text(&o, "state", state_names[up->checks[i].state]);
        json_add_text(&o, "text", up->checks[i].text);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_close(&o, '}');
    puts(o.text);
    free(o.text);
}

struct doctor_param {
    const char *verify;
    bool json;
};

static const struct option options[] = {
    {"verify", OPTION_TEXT, offsetof(struct doctor_param, verify), 0, 0, 0, NULL,
     "FILE: check this file instead: every page, reference, row count and seal of a results "
     "database, "
     "every byte "
     "of a file of attention"},
    JSON_ROW(struct doctor_param, json),
    OPTION_END,
};
static const char usage[] = "raas doctor [--verify FILE] [--json]";
static const char summary[] =
    "what this machine can do; whether a database or a file of attention is whole";

static int doctor_run(int argc, char **argv, struct err *e) {
    struct doctor_param param;
    struct checkup up = {0};
    if (!common_argv(options, &param, usage, summary, argc, argv, e))
        return e->code;
    if (param.verify) {
        (attn_is(param.verify) ? check_attention : check_database)(&up, param.verify);
    } else {
        note(&up, "program", FINE, "raas %s", RAAS_COMMIT);
        check_processor(&up);
        check_space(&up);
        check_libraries(&up);
        check_gnuplot(&up);
        check_gpu(&up);
        check_model(&up);
    }
    (param.json ? print_json : print_text)(&up);
    return up.code;
}

const struct command command_doctor = {
    .name = "doctor",
    .usage = usage,
    .summary = summary,
    .run = doctor_run,
};
