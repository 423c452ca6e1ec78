#include "tests/cuda_rig.h"

#ifdef RAAS_CUDA
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/cuda_parts.h"
#include "engine/rope.h"

static void fill_rope(struct rig *rig, bool identity) {
    int size = rig->shape.head_size, half = size / 2, n = rig->room * PAGE;
    rig->rope = test_malloc((size_t)(n * size) * sizeof *rig->rope);
    for (int p = 0; p < n; p++)
        for (int i = 0; i < half; i++) {
            double angle = identity ? 0 : p * pow(10000, -(double)i / half);
            rig->rope[p * size + i] = (float)cos(angle);
            rig->rope[p * size + half + i] = (float)sin(angle);
        }
}

/* Every head has `worst` pages of the pool, in no order. */
static void deal_pages(struct rig *rig) {
    int32_t heads = rig->n_rows * rig->shape.n_layers * rig->shape.n_kv_heads;
    int32_t n = (int32_t)rig->n_pages, *ids = test_malloc((size_t)n * sizeof *ids);
    for (int32_t i = 0; i < n; i++)
        ids[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = gpu_random_below(i + 1), id = ids[i];
        ids[i] = ids[j], ids[j] = id;
    }
    for (int32_t h = 0; h < heads; h++)
        for (int32_t i = 0; i < rig->room; i++)
            rig->table[h * rig->room + i] = i < rig->worst ? ids[h * rig->worst + i] : -1;
    test_free(ids);
}

static void open_cache(struct rig *rig) {
    size_t n = (size_t)rig->n_pages, head = (size_t)rig->shape.cache_head;
    size_t heads = (size_t)(rig->n_rows * rig->shape.n_layers * rig->shape.n_kv_heads);
    struct cuda_cache *c = &rig->pass.cache;
    rig->kv = test_malloc(n * 32 * head * sizeof *rig->kv);
    rig->bounds = test_malloc(n * 2 * head * sizeof *rig->bounds);
    rig->position = test_malloc(n * PAGE * sizeof *rig->position);
    rig->slot_column = test_malloc(n * PAGE * sizeof *rig->slot_column);
    rig->page_column = test_malloc(n * sizeof *rig->page_column);
    rig->live = test_calloc(n, sizeof *rig->live);
    rig->table = test_malloc(heads * (size_t)rig->room * sizeof *rig->table);
    deal_pages(rig);
    *c = (struct cuda_cache){
        .kv = gpu_alloc(n * 32 * head * sizeof *rig->kv),
        .bounds = gpu_alloc(n * 2 * head * sizeof *rig->bounds),
        .position = gpu_alloc(n * PAGE * sizeof *rig->position),
        .slot_column = gpu_alloc(n * PAGE * sizeof *rig->slot_column),
        .page_column = gpu_alloc(n * sizeof *rig->page_column),
        .live = gpu_copy_in(rig->live, n * sizeof *rig->live),
        .table = gpu_copy_in(rig->table, heads * (size_t)rig->room * sizeof *rig->table),
        .room = rig->room,
        .head = rig->shape.cache_head};
}

void rig_open(struct rig *rig, struct cuda_shape shape, int32_t n_rows, int32_t room,
              struct plan *plans, bool identity_rope) {
    memset(rig, 0, sizeof *rig);
    rig->shape = shape, rig->n_rows = n_rows, rig->room = room, rig->plans = plans;
    rig->worst = room > 2 ? room - 1 : room;
    rig->n_pages = (int64_t)n_rows * shape.n_layers * shape.n_kv_heads * rig->worst;
    fill_rope(rig, identity_rope);
    open_cache(rig);
    rig->rows = test_calloc((size_t)n_rows, sizeof *rig->rows);
    struct cuda_plan *device_plans = test_calloc((size_t)n_rows, sizeof *device_plans);
    bool looks = false, ranks = false;
    for (int i = 0; i < n_rows; i++) {
        device_plans[i] = cuda_plan_of(&plans[i]);
        looks |= plans[i].select == UNIT_TOKEN;
        ranks |= plans[i].keys == KEYS_RANK;
    }
    size_t heads = (size_t)(n_rows * shape.n_kv_heads), slots = (size_t)room * PAGE;
    size_t qkv =
        (size_t)n_rows * (size_t)((shape.n_heads + 2 * shape.n_kv_heads) * shape.head_size);
    size_t tiles = (size_t)(shape.group + 7) / 8, f = sizeof(float);
    struct cuda_pass *p = &rig->pass;
    p->shape = shape;
    p->n_rows = n_rows;
    p->scale = 1 / sqrtf((float)shape.head_size);
    p->plans = gpu_copy_in(device_plans, (size_t)n_rows * sizeof *device_plans);
    p->rows = gpu_alloc((size_t)n_rows * sizeof *p->rows);
    p->rope = gpu_copy_in(rig->rope, slots * (size_t)shape.head_size * f);
    p->qkv = gpu_alloc(qkv * f);
    p->q = gpu_alloc(heads * tiles * 8 * (size_t)shape.cache_head * sizeof *p->q);
    p->view = gpu_alloc(heads * (size_t)room * sizeof *p->view);
    p->chosen = looks ? gpu_alloc(heads * (size_t)room * sizeof *p->chosen) : NULL;
    p->rank = ranks ? gpu_alloc(heads * slots * sizeof *p->rank) : NULL;
    p->score = gpu_alloc(heads * (size_t)shape.group * slots * f);
    p->softmax = gpu_alloc(heads * CUDA_GROUP * 2 * f);
    p->many = gpu_alloc(heads * CUDA_MANY * slots * f);
    test_free(device_plans);
}

void rig_close(struct rig *rig) {
    void *all[] = {rig->rows,        rig->rope,        rig->kv,   rig->bounds, rig->position,
                   rig->slot_column, rig->page_column, rig->live, rig->table};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_free(all[i]);
    gpu_teardown(NULL);
}

void rig_put_rows(struct rig *rig) {
    gpu_write(rig->pass.rows, rig->rows, (size_t)rig->n_rows * sizeof *rig->rows);
}

void rig_get(struct rig *rig) {
    const struct cuda_cache *c = &rig->pass.cache;
    size_t n = (size_t)rig->n_pages, head = (size_t)rig->shape.cache_head;
    size_t heads = (size_t)(rig->n_rows * rig->shape.n_layers * rig->shape.n_kv_heads);
    gpu_copy_out(rig->rows, rig->pass.rows, (size_t)rig->n_rows * sizeof *rig->rows);
    gpu_copy_out(rig->kv, c->kv, n * 32 * head * sizeof *rig->kv);
    gpu_copy_out(rig->bounds, c->bounds, n * 2 * head * sizeof *rig->bounds);
    gpu_copy_out(rig->position, c->position, n * PAGE * sizeof *rig->position);
    gpu_copy_out(rig->slot_column, c->slot_column, n * PAGE * sizeof *rig->slot_column);
    gpu_copy_out(rig->page_column, c->page_column, n * sizeof *rig->page_column);
    gpu_copy_out(rig->live, c->live, n * sizeof *rig->live);
    gpu_copy_out(rig->table, c->table, heads * (size_t)rig->room * sizeof *rig->table);
}

struct cuda_row rig_row(const struct rig *rig, int row, int32_t n_prompt, int32_t total,
                        uint64_t key) {
    const struct plan *plan = &rig->plans[row];
    return (struct cuda_row){.active = 1,
                             .plan = row,
                             .n_prompt = n_prompt,
                             .capacity = plan_capacity(plan, n_prompt, total),
                             .budget = plan_effective_budget(plan, n_prompt),
                             .worst = rig->worst,
                             .position = n_prompt - 1,
                             .key = key};
}

const int32_t *rig_table(const struct rig *rig, int row, int layer, int kv) {
    struct cuda_cache c = rig->pass.cache;
    c.table = rig->table;
    return table_of(c, rig->shape, row, layer, kv);
}

void rig_put_head(struct rig *rig, int row, int layer, int kv, const struct host_head *t) {
    const struct cuda_cache *c = &rig->pass.cache;
    const int32_t *table = rig_table(rig, row, layer, kv);
    for (int i = 0; i < t->head.n_pages; i++) {
        size_t to = (size_t)table[i], from = (size_t)t->head.table[i];
        uint32_t live = t->head.live[i];
        gpu_write(c->live + to, &live, sizeof live);
        gpu_write(c->position + to * PAGE, t->pool.position + from * PAGE, PAGE * sizeof(int32_t));
        gpu_write(c->slot_column + to * PAGE, t->pool.slot_column + from * PAGE,
                  PAGE * sizeof(float));
        gpu_write(c->page_column + to, t->pool.page_column + from, sizeof(float));
    }
}

/* --- the CPU's ------------------------------------------------------------------------------ */

void host_head_open(struct host_head *t, const struct cpu_kernels *kernels, int head_size,
                    int32_t room) {
    struct err e = {0};
    memset(t, 0, sizeof *t);
    assert_true(pool_init(&t->pool, kernels, head_size, room, &e));
    t->table = test_malloc((size_t)room * sizeof *t->table);
    t->live = test_malloc((size_t)room * sizeof *t->live);
    t->head = (struct head){.table = t->table, .live = t->live};
}

void host_head_close(struct host_head *t) {
    pool_destroy(&t->pool);
    test_free(t->table);
    test_free(t->live);
}

struct head_step rig_step(const struct rig *rig, struct host_head *t, int row) {
    const struct cuda_row *r = &rig->rows[row];
    return (struct head_step){.plan = &rig->plans[row],
                              .pool = &t->pool,
                              .head = &t->head,
                              .needs = plan_page_needs(&rig->plans[row]),
                              .group = rig->shape.group,
                              .n_prompt = r->n_prompt,
                              .capacity = r->capacity,
                              .key = r->key};
}

void host_head_settle(const struct rig *rig, const struct head_step *from, struct host_head *to) {
    const struct page_pool *pool = from->pool;
    int size = rig->shape.head_size;
    for (int i = 0; i < from->head->n_pages; i++)
        for (unsigned bits = from->head->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits), at = from->head->table[i] * PAGE + slot;
            int32_t position = pool->position[at];
            float k[256], v[256];
            pool->kernels->read(pool_page(pool, from->head->table[i]), slot, size, k, v);
            if (from->plan->keys == KEYS_RANK)
                rope_rotate(k, rig->rope + (size_t)position * (size_t)size, size, -1, k);
            head_append(&to->pool, &to->head, from->needs, position,
                        from->needs.slot_columns ? pool->slot_column[at] : 0, k, v);
        }
    to->head.evictions = from->head->evictions;
}

static void check_content(const struct rig *rig, const struct host_head *t, int i, int32_t page,
                          const char *what) {
    int head = rig->shape.cache_head, size = rig->shape.head_size;
    const uint16_t *kv = rig->kv + (size_t)page * 32 * (size_t)head;
    for (int slot = 0; slot < PAGE; slot++) {
        float k[256], v[256];
        bool live = t->head.live[i] >> slot & 1;
        if (live)
            t->pool.kernels->read(pool_page(&t->pool, t->head.table[i]), slot, size, k, v);
        for (int d = 0; d < head; d++) {
            uint16_t key = kv[key_at(slot, d)], value = kv[value_at(head, slot, d)];
            if (!isfinite(bf16_to_float(key)) || !isfinite(bf16_to_float(value)))
                fail_msg("%s: page %d slot %d dim %d is not finite", what, i, slot, d);
            if (d >= size && (key || value))
                fail_msg("%s: page %d slot %d: padding dim %d is not zero", what, i, slot, d);
            if (live && d < size && (bf16_to_float(key) != k[d] || bf16_to_float(value) != v[d]))
                fail_msg("%s: page %d slot %d dim %d: key %g value %g, expected %g %g", what, i,
                         slot, d, (double)bf16_to_float(key), (double)bf16_to_float(value),
                         (double)k[d], (double)v[d]);
        }
    }
}

static void check_bounds(const struct rig *rig, const struct host_head *t, int i, int32_t page,
                         const char *what) {
    int head = rig->shape.cache_head, size = rig->shape.head_size;
    const uint16_t *got = rig->bounds + (size_t)page * 2 * (size_t)head;
    const uint16_t *expected = (const uint16_t *)pool_bounds(&t->pool, t->head.table[i]);
    for (int half = 0; half < 2; half++)
        for (int d = 0; d < head; d++) {
            float a = bf16_to_float(got[half * head + d]);
            float b = d < size ? bf16_to_float(expected[half * size + d]) : 0;
            if (a != b)
                fail_msg("%s: page %d %s[%d] is %g, expected %g", what, i, half ? "hi" : "lo", d,
                         (double)a, (double)b);
        }
}

static void check_page(const struct rig *rig, const struct host_head *t, struct page_needs needs,
                       int i, int32_t page, const char *what) {
    int32_t own = t->head.table[i];
    if (rig->live[page] != t->head.live[i])
        fail_msg("%s: page %d holds slots %x, expected %x", what, i, rig->live[page],
                 t->head.live[i]);
    for (int s = 0; s < PAGE; s++) {
        if (!(t->head.live[i] >> s & 1))
            continue;
        int32_t got = rig->position[page * PAGE + s], expected = t->pool.position[own * PAGE + s];
        float column = rig->slot_column[page * PAGE + s];
        if (got != expected)
            fail_msg("%s: page %d slot %d holds %d, expected %d", what, i, s, got, expected);
        if (needs.slot_columns && column != t->pool.slot_column[own * PAGE + s])
            fail_msg("%s: page %d slot %d: column %.9g, expected %.9g", what, i, s, (double)column,
                     (double)t->pool.slot_column[own * PAGE + s]);
    }
    if (needs.page_column && rig->page_column[page] != t->pool.page_column[own])
        fail_msg("%s: page %d: column %.9g, expected %.9g", what, i, (double)rig->page_column[page],
                 (double)t->pool.page_column[own]);
}

void rig_check_head(const struct rig *rig, int row, int layer, int kv, const struct host_head *t,
                    bool content, const char *what) {
    struct page_needs needs = plan_page_needs(&rig->plans[row]);
    const struct cuda_row *r = &rig->rows[row];
    const int32_t *table = rig_table(rig, row, layer, kv);
    if (r->n_live != t->head.n_live || r->n_pages != t->head.n_pages ||
        (uint64_t)r->evictions != t->head.evictions)
        fail_msg("%s: %d tokens in %d pages, %d evictions, expected %d in %d, %d", what, r->n_live,
                 r->n_pages, r->evictions, t->head.n_live, t->head.n_pages, (int)t->head.evictions);
    for (int i = 0; i < t->head.n_pages; i++) {
        check_page(rig, t, needs, i, table[i], what);
        if (content && needs.bounds)
            check_bounds(rig, t, i, table[i], what);
        if (content)
            check_content(rig, t, i, table[i], what);
    }
    /* all pages of a head stay its own, each once */
    for (int i = 0; i < rig->worst; i++)
        for (int j = 0; j < i; j++)
            if (table[i] < 0 || table[i] >= rig->n_pages || table[i] == table[j])
                fail_msg("%s: table entries %d and %d: %d, %d", what, j, i, table[j], table[i]);
}
#endif
