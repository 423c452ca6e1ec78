/* raas bench mine: how fast rows of attention are mined, and in how much memory. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "analysis/grid.h"
#include "analysis/lifecycle.h"
#include "analysis/scores.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/rng.h"
#include "commands/bench.h"
#include "commands/common.h"

enum { PATTERNS = 4096, WHOLE = 1024 };

struct mine_param {
    int64_t tokens, heads, threads;
    bool json;
};

static const struct option options[] = {
    // clang-format off
    {"tokens", OPTION_INT, offsetof(struct mine_param, tokens), 65536, WHOLE, 1 << 24, NULL, "length of the trace"},
    {"heads", OPTION_INT, offsetof(struct mine_param, heads), 24, 1, 65536, NULL, "heads of all layers"},
    {"threads", OPTION_INT, offsetof(struct mine_param, threads), 2, 1, 1024, NULL, "threads, which share the heads"},
    JSON_ROW(struct mine_param, json),
    OPTION_END,
    // clang-format on
};

struct load {
    struct lifecycle *lives; /* [heads] */
    int32_t tokens;
    int per_row;
    int32_t *age; /* [PATTERNS][per_row] how far back the entries of a row lie */
    float *prob;
};

static void mine_head(void *context, int head, int thread) {
    const struct load *load = context;
    struct lifecycle_params params;
    int32_t *position = must_alloc((size_t)load->per_row * sizeof *position);
    (void)thread;
    option_defaults(lifecycle_options, &params);
    lifecycle_begin(&load->lives[head], &params, 1);
    for (int32_t q = 1; q < load->tokens; q++) {
        size_t pattern = (size_t)((q + head * 97) % PATTERNS) * (size_t)load->per_row;
        for (int k = 0; k < load->per_row; k++) {
            int32_t j = q - load->age[pattern + (size_t)k];
            position[k] = j < 0 ? 0 : j;
        }
        struct attended row = {q, false, q + 1, load->per_row, position, load->prob + pattern};
        lifecycle_row(&load->lives[head], &row);
    }
    free(position);
}

static double mine_pruned(struct pool *pool, struct lifecycle *lives, const struct mine_param *p,
                          int per_row) {
    struct load load = {.lives = lives, .tokens = (int32_t)p->tokens, .per_row = per_row};
    struct rng rng = {.key = 1};
    size_t n = (size_t)PATTERNS * (size_t)per_row;
    load.age = must_alloc(n * sizeof *load.age);
    load.prob = must_alloc(n * sizeof *load.prob);
    for (size_t i = 0; i < n; i++) { /* half near by, half anywhere */
        load.age[i] = (int32_t)rng_below(&rng, i % 2 ? 32 : (uint32_t)p->tokens);
        load.prob[i] = 0.01f + 0.1f * rng_uniform(rng_next(&rng));
    }
    double from = clock_seconds();
    pool_run(pool, (int)p->heads, mine_head, &load);
    double seconds = clock_seconds() - from;
    free(load.age);
    free(load.prob);
    return (double)p->tokens / seconds;
}

/* Entries per second of one thread, life and shape of whole rows. */
static double mine_whole(struct lifecycle *life) {
    struct lifecycle_params params;
    struct scores scores;
    int32_t position[WHOLE];
    float prob[WHOLE];
    struct rng rng = {.key = 2};
    int64_t entries = 0;
    option_defaults(lifecycle_options, &params);
    scores_open(&scores, WHOLE);
    scores_begin(&scores);
    lifecycle_begin(life, &params, 1);
    for (int32_t j = 0; j < WHOLE; j++) {
        float u = rng_uniform(rng_next(&rng));
        position[j] = j, prob[j] = u * u * u * u / WHOLE * 5;
    }
    double from = clock_seconds();
    for (int32_t q = 1; q < WHOLE; q++) {
        struct attended row = {q, false, q + 1, q + 1, position, prob};
        lifecycle_row(life, &row);
        scores_row(&scores, &row, 1);
        entries += q + 1;
    }
    scores_close(&scores);
    return (double)entries / (clock_seconds() - from);
}

static void print(const struct mine_param *p, const int *per_row, const double *rate, int n,
                  double entries, double megabytes) {
    struct grid grid = {0};
    grid_column(&grid, GRID_RIGHT, "entries a row");
    grid_column(&grid, GRID_RIGHT, "tokens/s");
    printf(
        "%d tokens, %d heads, %d threads; %.0f MB resident at most, %zu bytes per head and token;"
        "\nwhole rows of up to %d keys, shapes too, one thread: %.0f M entries/s\n\n",
        (int)p->tokens, (int)p->heads, (int)p->threads, megabytes, sizeof(struct key_life), WHOLE,
        1e-6 * entries);
    for (int i = 0; i < n; i++) {
        grid_cell(&grid, "%d", per_row[i]);
        grid_cell(&grid, "%.0f", rate[i]);
    }
    grid_print(&grid, GRID_TEXT, stdout);
    grid_free(&grid);
}

static void print_json(const int *per_row, const double *rate, int n, double entries,
                       double megabytes) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_real(&o, "resident_mb", megabytes);
    json_add_real(&o, "whole_entries_per_second", entries);
    json_name(&o, "pruned");
    json_open(&o, '[');
    for (int i = 0; i < n; i++) {
        json_open(&o, '{');
        json_add_int(&o, "entries_per_row", per_row[i]);
        json_add_real(&o, "tokens_per_second", rate[i]);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_close(&o, '}');
    puts(o.text);
    free(o.text);
}

static const char usage[] = "raas bench mine [--tokens N] [--heads N] [--threads N]";
static const char about[] =
    "How fast the miner takes rows of a synthetic trace. Long rows come pruned below theta: of at\n"
    "least 0.01 no row has more than 100 entries. Whole rows are counted in entries.";

int bench_mine(int argc, char **argv, struct err *e) {
    static const int per_row[] = {8, 16, 32, 100};
    enum { N = sizeof per_row / sizeof *per_row };
    struct mine_param p;
    struct rusage used;
    double rate[N];
    if (!common_argv(options, &p, usage, about, argc, argv, e))
        return e->code;
    struct pool *pool = pool_open((int)p.threads);
    struct lifecycle *lives = must_zalloc((size_t)p.heads, sizeof *lives);
    for (int h = 0; h < p.heads; h++)
        lifecycle_open(&lives[h], (int32_t)p.tokens);
    for (int i = 0; i < N; i++)
        rate[i] = mine_pruned(pool, lives, &p, per_row[i]);
    double entries = mine_whole(lives);
    getrusage(RUSAGE_SELF, &used);
    double megabytes = (double)used.ru_maxrss * 1024e-6;
    if (p.json)
        print_json(per_row, rate, N, entries, megabytes);
    else
        print(&p, per_row, rate, N, entries, megabytes);
    for (int h = 0; h < p.heads; h++)
        lifecycle_close(&lives[h]);
    free(lives);
    pool_close(pool);
    return EXIT_OK;
}
