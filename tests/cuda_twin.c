#ifdef RAAS_CUDA
#include "tests/cuda_twin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/tiny.h"

static const char *const spellings[TWIN_PLANS] = {
    "full",           "quest:budget=64",       "oracle:budget=40", "streaming:budget=48",
    "h2o:budget=50",  "h2o:budget=30,match=1", "raas:budget=64",   "raas:budget=160",
    "fifo:budget=80", "random:budget=48",      "tova:budget=40",   "snapkv:budget=40,every=24",
};

struct plan twin_plans[TWIN_PLANS];
struct cuda_plan twin_device_plans[TWIN_PLANS];

void twin_parse_plans(void) {
    for (int i = 0; i < TWIN_PLANS; i++) {
        twin_plans[i] = tiny_plan(spellings[i]);
        struct page_needs needs = plan_page_needs(&twin_plans[i]);
        twin_device_plans[i] = (struct cuda_plan){.evict = (int32_t)twin_plans[i].evict,
                                                  .select = (int32_t)twin_plans[i].select,
                                                  .sinks = twin_plans[i].sinks,
                                                  .recent = twin_plans[i].recent,
                                                  .every = twin_plans[i].every,
                                                  .dense_layers = twin_plans[i].dense_layers,
                                                  .pin_prompt = twin_plans[i].pin_prompt,
                                                  .bounds = needs.bounds,
                                                  .slot_columns = needs.slot_columns,
                                                  .page_column = needs.page_column};
    }
}

static void append_nothing(void *page, int s, int head_size, const float *k, const float *v,
                           void *bounds, bool first) {
    (void)page, (void)s, (void)head_size, (void)k, (void)v, (void)bounds, (void)first;
}
static const struct cpu_kernels no_arithmetic = {
    .isa = "none", .cache_size = 2, .append = append_nothing};

static void feed(struct twin *m, bool prefill) {
    static struct rules_scratch scratch; /* for all twins */
    float zero[4] = {0};
    if (!scratch.room)
        rules_scratch_init(&scratch, TWIN_TOTAL, 1, 0, 1);
    struct head_step step = {.plan = m->plan,
                             .pool = &m->pool,
                             .head = &m->head,
                             .needs = plan_page_needs(m->plan),
                             .group = 1,
                             .n_prompt = m->n_prompt,
                             .capacity = m->capacity,
                             .now = ++m->position};
    if (!prefill)
        rules_make_room(&step, &scratch);
    head_append(&m->pool, &m->head, step.needs, m->position, 0, zero, zero);
    if (prefill && m->position == m->n_prompt - 1)
        rules_shrink(&step, &scratch);
}

/* What is left of the prompt is moved together, as the backend does. */
static void settle(struct twin *m) {
    struct page_needs needs = plan_page_needs(m->plan);
    float zero[4] = {0};
    int32_t kept[TWIN_TOTAL];
    int n = 0;
    for (int i = 0; i < m->head.n_pages; i++)
        for (unsigned bits = m->head.live[i]; bits; bits &= bits - 1)
            kept[n++] = m->pool.position[m->head.table[i] * PAGE + __builtin_ctz(bits)];
    uint64_t evictions = m->head.evictions;
    head_clear(&m->pool, &m->head, needs);
    m->head.evictions = evictions;
    for (int i = 0; i < n; i++)
        head_append(&m->pool, &m->head, needs, kept[i], 0, zero, zero);
}

void twin_close(struct twin *m) { pool_destroy(&m->pool); }

void twin_feed(struct twin *m) { feed(m, false); }

void twin_open(struct twin *m, int plan, int32_t n_prompt) {
    struct err e = {0};
    memset(m, 0, sizeof *m);
    m->plan = &twin_plans[plan], m->n_prompt = n_prompt, m->position = -1;
    m->capacity = plan_capacity(m->plan, n_prompt, TWIN_TOTAL);
    m->head = (struct head){.table = m->table, .live = m->live};
    assert_true(pool_init(&m->pool, &no_arithmetic, 4, TWIN_TOTAL / PAGE + 2, &e));
    for (int i = 0; i < n_prompt; i++)
        feed(m, true);
    settle(m);
}

struct cuda_row twin_row(const struct twin *m, int32_t next) {
    return (struct cuda_row){.active = 1,
                             .plan = (int32_t)(m->plan - twin_plans),
                             .n_prompt = m->n_prompt,
                             .capacity = m->capacity,
                             .budget = plan_effective_budget(m->plan, m->n_prompt),
                             .position = m->position,
                             .next = next,
                             .n_live = m->head.n_live,
                             .n_pages = m->head.n_pages,
                             .evictions = (int32_t)m->head.evictions};
}

void twin_check(const struct twin *m, const struct cuda_row *row) {
    assert_int_equal(row->position, m->position);
    assert_int_equal(row->n_live, m->head.n_live);
    assert_int_equal(row->n_pages, m->head.n_pages);
    assert_int_equal(row->evictions, m->head.evictions);
}
#endif
