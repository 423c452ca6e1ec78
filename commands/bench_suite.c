#include "commands/bench_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "version.h"

enum kind {
    RATIO,   /* floor / step */
    OVER,    /* step / step of the case `base` */
    RATE,    /* tokens a second */
    SECONDS, /* of the sweep over lemmas; less is better */
    PEERS,   /* step of transformers / step of the case `base` */
};
enum { FILE_MAX = 1 << 20, LINE = 400 };

#define SHAPE_7B "qwen2.5-7b"
#define SHAPE_SMALL "qwen2.5-1.5b"
#define L "budget=1024"
// clang-format off
static const struct bench_case {
    const char *name;
    enum kind kind;
    double first, goal;
    struct bench_step step;
    const char *base;
} cases[] = {
    {"7b_b1_2k", RATIO, 0.85, 0.92, {SHAPE_7B, "full", 1, 2048, 0, 8}, NULL},
    {"8b_b1_2k", RATIO, 0.85, 0.92, {"llama-8b", "full", 1, 2048, 0, 8}, NULL},
    {"1.5b_b1_2k", RATIO, 0.70, 0.85, {SHAPE_SMALL, "full", 1, 2048, 0, 8}, NULL},
    {"7b_b32_8k", RATIO, 0.80, 0.88, {SHAPE_7B, "full", 32, 8192, 0, 8}, NULL},
    {"7b_b32_16k_raas", RATIO, 0.72, 0.82, {SHAPE_7B, "raas:" L, 32, 16384, 0, 8}, NULL},
    {"7b_b32_16k_streaming", RATIO, 0.72, 0.82, {SHAPE_7B, "streaming:" L, 32, 16384, 0, 8}, NULL},
    {"raas_over_full", OVER, 2.2, 2.6, {SHAPE_7B, "full", 32, 16384, 0, 6}, "7b_b32_16k_raas"},
    {"7b_b32_16k_quest", RATIO, 0.65, 0.78, {SHAPE_7B, "quest:" L, 32, 16384, 0, 8}, NULL},
    {"7b_b32_16k_h2o", RATIO, 0.65, 0.76, {SHAPE_7B, "h2o:" L, 32, 16384, 0, 8}, NULL},
    {"lemmas_sweep_s", SECONDS, 10, 4, {0}, NULL},
    /* rows of 100 to 400 tokens grow by 300 */
    {"1.5b_256seq_tok_s", RATE, 50000, 100000, {SHAPE_SMALL, "full", 256, 400, 150, 6}, NULL},
    {"over_transformers", PEERS, 1.25, 1.5, {0}, "7b_b1_2k"},
};
// clang-format on
enum { N_CASES = sizeof cases / sizeof *cases };

struct run {
    const struct bench_suite *suite;
    bool asked[N_CASES], tried[N_CASES];
    struct bench_reading readings[N_CASES];
    struct err errors[N_CASES];           /* of the measurement, or of what is made of it */
    double measured[N_CASES];             /* NAN: not measured */
    double step[N_CASES], floor[N_CASES]; /* seconds; NAN: the case has none */
    char *kept[N_CASES];                  /* lines of the old file */
};

static int find(const char *name) {
    for (int i = 0; i < N_CASES; i++)
        if (!strcmp(cases[i].name, name))
            return i;
    return -1;
}

/* --- measuring ------------------------------------------------------------------------------ */

/* Every step is measured once, whoever asks first. */
static const struct bench_reading *reading_of(struct run *r, int i, struct err *e) {
    if (!r->tried[i]) {
        r->tried[i] = true;
        log_status(true, "bench: %s, batch %d, context %d", cases[i].name, cases[i].step.batch,
                   cases[i].step.context);
        r->suite->measure(&cases[i].step, &r->readings[i], &r->errors[i]);
        log_status_end();
    }
    if (!r->errors[i].code)
        return &r->readings[i];
    err_set(e, r->errors[i].code, "%s", r->errors[i].text);
    return NULL;
}

static bool compare_peers(const struct run *r, int base, double step, double *out, struct err *e) {
    double ms;
    if (!r->suite->peers)
        return err_set(e, EXIT_USAGE, "no --peers FILE");
    if (!bench_peer_step(r->suite->peers, &cases[base].step, r->suite->device->name, &ms, e))
        return false;
    *out = ms * 1e-3 / step;
    return true;
}

static bool measure_case(struct run *r, int i, struct err *e) {
    const struct bench_case *c = &cases[i];
    if (c->kind == SECONDS)
        return r->suite->sweep(&r->measured[i], e);
    int base = c->base ? find(c->base) : i, own = c->kind == PEERS ? base : i;
    const struct bench_reading *reading = reading_of(r, own, e), *other = reading_of(r, base, e);
    if (!reading || !other)
        return false;
    r->step[i] = reading->step, r->floor[i] = bench_floor(reading, r->suite->device);
    switch (c->kind) {
    case RATIO:
        r->measured[i] = r->floor[i] / reading->step;
        break;
    case OVER:
        r->measured[i] = reading->step / other->step;
        break;
    case RATE:
        r->step[i] = reading->mean;
        r->measured[i] = c->step.batch / reading->mean;
        break;
    default:
        r->floor[i] = NAN;
        return compare_peers(r, base, reading->step, &r->measured[i], e);
    }
    return true;
}

/* --- the table of peers --------------------------------------------------------------------- */

/* Cuts a line at its commas; returns the number of fields. */
static int cut(char *line, char *fields[], int room) {
    int n = 0;
    for (char *at = line; at && n < room;) {
        fields[n++] = at;
        at = strchr(at, ',');
        if (at)
            *at++ = 0;
    }
    return n;
}

static int column(char *const *names, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

bool bench_peer_step(const char *path, const struct bench_step *step, const char *gpu, double *ms,
                     struct err *e) {
    enum { FIELDS = 16, WANTED = 6 };
    static const char *const wanted[WANTED] = {"engine",  "shape", "batch",
                                               "context", "gpu",   "ms_median"};
    char *names[FIELDS], *fields[FIELDS], *save = NULL, values[2][16];
    int at[WANTED];
    size_t size;
    char *text = file_read(path, FILE_MAX, &size, e);
    if (!text)
        return false;
    char *line = strtok_r(text, "\r\n", &save);
    int n = line ? cut(line, names, FIELDS) : 0;
    bool whole = true, found = false;
    for (int i = 0; i < WANTED; i++)
        whole = (at[i] = column(names, n, wanted[i])) >= 0 && whole;
    snprintf(values[0], sizeof values[0], "%d", step->batch);
    snprintf(values[1], sizeof values[1], "%d", step->context);
    const char *const own[] = {"static+compile", step->shape, values[0], values[1], gpu};
    while (whole && !found && (line = strtok_r(NULL, "\r\n", &save))) {
        found = cut(line, fields, FIELDS) == n;
        for (int i = 0; found && i < WANTED - 1; i++)
            found = !strcmp(fields[at[i]], own[i]);
        if (found)
            *ms = strtod(fields[at[WANTED - 1]], NULL);
    }
    free(text);
    return (found && *ms > 0) ||
           err_set(e, EXIT_CONTENT, "%s: no time of static+compile, %s, batch %d, context %d on %s",
                   path, step->shape, step->batch, step->context, gpu);
}

/* --- writing -------------------------------------------------------------------------------- */

static const char heading[] = "case,first,goal,measured,floor_ms,step_ms,gpu,commit\n";

/* Lines of cases that this run leaves alone. */
static void keep_lines(struct run *r) {
    struct err none = {0};
    size_t size;
    char *save = NULL, *text = file_read(r->suite->out, FILE_MAX, &size, &none);
    for (char *line = text ? strtok_r(text, "\r\n", &save) : NULL; line;
         line = strtok_r(NULL, "\r\n", &save)) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line, ","), line);
        int i = find(name);
        if (i >= 0 && !r->asked[i] && !r->kept[i])
            r->kept[i] = must_strdup(line);
    }
    free(text);
}

static void put_number(double value, double unit, FILE *out) {
    if (isfinite(value))
        fprintf(out, "%.6g", value * unit);
    putc(',', out);
}

static bool write_file(const struct run *r, struct err *e) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    fputs(heading, out);
    for (int i = 0; i < N_CASES; i++) {
        if (!r->asked[i]) {
            if (r->kept[i])
                fprintf(out, "%s\n", r->kept[i]);
            continue;
        }
        fprintf(out, "%s,%g,%g,", cases[i].name, cases[i].first, cases[i].goal);
        put_number(r->measured[i], 1, out);
        put_number(r->floor[i], 1e3, out);
        put_number(r->step[i], 1e3, out);
        fprintf(out, "%s,%s\n", r->suite->device->name, RAAS_COMMIT);
    }
    CHECK(fclose(out) == 0);
    bool ok = file_folders(r->suite->out, e) && file_write(r->suite->out, text, size, NULL, 0, e);
    free(text);
    return ok;
}

static const char *verdict(const struct bench_case *c, double measured) {
    double sign = c->kind == SECONDS ? -1 : 1;
    if (sign * measured >= sign * c->goal)
        return "goal";
    return sign * measured >= sign * c->first ? "first target" : "below";
}

static void print_case(const struct run *r, int i, const struct err *error) {
    FILE *out = r->suite->table;
    const struct bench_case *c = &cases[i];
    fprintf(out, "%-21s %8g %8g ", c->name, c->first, c->goal);
    if (error->code) {
        fprintf(out, "not measured: %s\n", error->text);
        fflush(out);
        return;
    }
    fprintf(out, "%9.4g", r->measured[i]);
    if (isfinite(r->floor[i]))
        fprintf(out, " %9.3f", r->floor[i] * 1e3);
    else
        fprintf(out, " %9s", "");
    if (isfinite(r->step[i]))
        fprintf(out, " %9.3f", r->step[i] * 1e3);
    else
        fprintf(out, " %9s", "");
    fprintf(out, "  %s\n", verdict(c, r->measured[i]));
    fflush(out);
}

/* --- the run -------------------------------------------------------------------------------- */

bool bench_suite_check(const struct bench_suite *suite, struct err *e) {
    for (int i = 0; i < suite->only->count; i++) {
        if (find(suite->only->items[i]) >= 0)
            continue;
        char list[500] = "";
        for (int j = 0; j < N_CASES; j++)
            err_list(list, sizeof list, cases[j].name);
        return err_set(e, EXIT_USAGE, "--case %s: expected one of %s", suite->only->items[i], list);
    }
    size_t size;
    char *peers = suite->peers ? file_read(suite->peers, FILE_MAX, &size, e) : NULL;
    bool ok = peers || !suite->peers;
    free(peers);
    return ok;
}

static void choose(struct run *r) {
    const struct option_list *only = r->suite->only;
    for (int i = 0; i < N_CASES; i++) {
        r->asked[i] = only->count == 0;
        r->measured[i] = r->step[i] = r->floor[i] = NAN;
    }
    for (int i = 0; i < only->count; i++)
        r->asked[find(only->items[i])] = true;
}

int bench_suite_run(const struct bench_suite *suite, struct err *e) {
    struct run *r = must_zalloc(1, sizeof *r);
    r->suite = suite;
    int failed = 0;
    bool ok = true;
    choose(r);
    keep_lines(r);
    fprintf(suite->table, "%-21s %8s %8s %9s %9s %9s\n", "case", "first", "goal", "measured",
            "floor ms", "step ms");
    for (int i = 0; i < N_CASES && ok; i++) {
        struct err error = {0};
        if (!r->asked[i])
            continue;
        if (!measure_case(r, i, &error))
            r->measured[i] = NAN, failed++;
        print_case(r, i, &error);
        ok = write_file(r, e);
    }
    for (int i = 0; i < N_CASES; i++)
        free(r->kept[i]);
    free(r);
    return ok ? failed ? EXIT_PARTIAL : EXIT_OK : e->code;
}
