/* Rows join, leave and pretend. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/cuda_device.h"
#include "tests/cuda_twin.h"
#include "tests/gpu.h"

enum { WIDTH = 6, LAYERS = 3, KV_HEADS = 2, HEADS = LAYERS * KV_HEADS, ROOM = 70 };
enum { POOL_PAGES = WIDTH * HEADS * ROOM };

static struct cuda_pass open_cache(int head_size, int cache_head) {
    size_t pages = POOL_PAGES, tables = WIDTH * HEADS * ROOM;
    return (struct cuda_pass){
        .shape = {.n_layers = LAYERS,
                  .n_kv_heads = KV_HEADS,
                  .head_size = head_size,
                  .cache_head = cache_head},
        .plans = gpu_copy_in(twin_device_plans, sizeof twin_device_plans),
        .rows = gpu_alloc(WIDTH * sizeof(struct cuda_row)),
        .n_rows = WIDTH,
        .cache = {.kv = gpu_alloc(pages * 2 * PAGE * (size_t)cache_head * sizeof(uint16_t)),
                  .bounds = gpu_alloc(pages * 2 * (size_t)cache_head * sizeof(uint16_t)),
                  .position = gpu_alloc(pages * PAGE * sizeof(int32_t)),
                  .slot_column = gpu_alloc(pages * PAGE * sizeof(float)),
                  .page_column = gpu_alloc(pages * sizeof(float)),
                  .live = gpu_alloc(pages * sizeof(uint32_t)),
                  .table = gpu_alloc(tables * sizeof(int32_t)),
                  .room = ROOM,
                  .head = cache_head},
    };
}

static void test_cuda_rows_join_and_leave(void **state) {
    (void)state;
    gpu_or_skip();
    struct cuda_pass pass = open_cache(16, 32);
    struct cuda_join joins[3];
    static const int32_t index[3] = {4, 0, 3};
    int32_t base = 5;
    for (int i = 0; i < 3; i++) {
        memset(&joins[i], gpu_random_below(256), sizeof joins[i]);
        joins[i].row.active = 1;
        joins[i].row.worst = i == 0 ? ROOM : 1 + gpu_random_below(ROOM);
        joins[i].index = index[i], joins[i].base = base;
        base += HEADS * joins[i].row.worst + 3;
    }
    cuda_enter(&pass, gpu_copy_in(joins, sizeof joins), 3, NULL);
    static int32_t table[WIDTH * HEADS * ROOM];
    static uint32_t live[POOL_PAGES];
    struct cuda_row rows[WIDTH];
    gpu_copy_out(table, pass.cache.table, sizeof table);
    gpu_copy_out(live, pass.cache.live, sizeof live);
    gpu_copy_out(rows, pass.rows, sizeof rows);
    int n_live = 0, n_table = 0;
    for (int i = 0; i < 3; i++) {
        int32_t worst = joins[i].row.worst;
        assert_memory_equal(&rows[index[i]], &joins[i].row, sizeof *rows);
        for (int h = 0; h < HEADS; h++)
            for (int p = 0; p < worst; p++) {
                int32_t page = joined_page(pass.shape, joins[i].base, worst, h, p);
                assert_int_equal(table[(index[i] * HEADS + h) * ROOM + p], page);
                assert_int_equal(live[page], 0);
            }
        n_live += HEADS * worst;
    }
    for (int i = 0; i < POOL_PAGES; i++)
        n_live -= live[i] != 0xa5a5a5a5, n_table += table[i] != (int32_t)0xa5a5a5a5;
    assert_int_equal(n_live, 0);
    assert_int_equal(n_table,
                     HEADS * (joins[0].row.worst + joins[1].row.worst + joins[2].row.worst));
    cuda_leave_row(&pass, 0, NULL);
    gpu_copy_out(rows, pass.rows, sizeof rows);
    assert_int_equal(rows[0].active, 0);
    assert_int_equal(rows[3].active, 1);
    assert_int_equal(rows[4].active, 1);
}

struct cache_copy {
    uint16_t *kv, *bounds;
    int32_t position[POOL_PAGES * PAGE];
    float slot_column[POOL_PAGES * PAGE], page_column[POOL_PAGES];
    uint32_t live[POOL_PAGES];
};

/* A page with n live slots: zeros where nothing is, bounds that hold; adds to the moments. */
static void check_page(const struct cuda_pass *pass, const struct cache_copy *c, int page, int n,
                       bool bounds, double moments[3]) {
    int head = pass->cache.head;
    const uint16_t *kv = c->kv + (size_t)page * 2 * PAGE * (size_t)head;
    const uint16_t *lo = c->bounds + (size_t)page * 2 * (size_t)head, *hi = lo + head;
    for (int d = 0; d < head; d++) {
        float low = INFINITY, high = -INFINITY;
        for (int slot = 0; slot < PAGE; slot++) {
            float k = bf16_to_float(kv[key_at(slot, d)]);
            float v = bf16_to_float(kv[value_at(head, slot, d)]);
            if (slot >= n || d >= pass->shape.head_size) {
                assert_true(k == 0 && v == 0);
            } else {
                assert_true(fabsf(k) < 2 && fabsf(v) < 2);
                moments[0] += 2, moments[1] += k + v, moments[2] += k * k + v * v;
            }
            if (slot < n)
                low = fminf(low, k), high = fmaxf(high, k);
        }
        if (bounds)
            assert_true(bf16_to_float(lo[d]) == low && bf16_to_float(hi[d]) == high);
    }
}

/* One pretended row against the sequence that was really fed. */
static void check_pretended(const struct cuda_pass *pass, const struct cache_copy *c,
                            const struct cuda_join *join, const struct twin *m, double moments[3]) {
    const struct cuda_plan *plan = &twin_device_plans[join->row.plan];
    int n_live = m->head.n_live, tokens = m->position + 1, first = 0;
    while (
        first < n_live &&
        c->position[joined_page(pass->shape, join->base, join->row.worst, 0, first / PAGE) * PAGE +
                    first % PAGE] == first)
        first++;
    int pinned = plan->pin_prompt ? m->n_prompt : 0;
    pinned = pinned > plan->sinks ? pinned : plan->sinks;
    assert_true(first >= (pinned < n_live ? pinned : n_live - 1));
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < join->row.worst; i++) {
            int page = joined_page(pass->shape, join->base, join->row.worst, h, i);
            int n = n_live - i * PAGE < PAGE ? n_live - i * PAGE : PAGE;
            if (n <= 0) {
                assert_int_equal(c->live[page], 0);
                continue;
            }
            assert_int_equal(c->live[page], (1 << n) - 1);
            for (int s = 0; s < n; s++) {
                int at = i * PAGE + s, position = at < first ? at : tokens - n_live + at;
                assert_int_equal(c->position[page * PAGE + s], position);
                float column = c->slot_column[page * PAGE + s];
                assert_true(!plan->slot_columns || (column >= 0 && column < 1));
            }
            if (plan->page_column)
                assert_true(c->page_column[page] == (float)c->position[page * PAGE]);
            check_page(pass, c, page, n, plan->bounds, moments);
        }
}

static void copy_cache(struct cache_copy *c, const struct cuda_pass *pass) {
    size_t kv = (size_t)POOL_PAGES * 2 * (size_t)pass->cache.head * sizeof(uint16_t);
    c->kv = test_malloc(kv * PAGE);
    c->bounds = test_malloc(kv);
    gpu_copy_out(c->kv, pass->cache.kv, kv * PAGE);
    gpu_copy_out(c->bounds, pass->cache.bounds, kv);
    gpu_copy_out(c->position, pass->cache.position, sizeof c->position);
    gpu_copy_out(c->slot_column, pass->cache.slot_column, sizeof c->slot_column);
    gpu_copy_out(c->page_column, pass->cache.page_column, sizeof c->page_column);
    gpu_copy_out(c->live, pass->cache.live, sizeof c->live);
}

static void free_copy(struct cache_copy *c) {
    test_free(c->kv);
    test_free(c->bounds);
}

/* Every plan, fed for a while and not: counts as the CPU's, tokens that a policy may hold. */
static void test_cuda_rows_pretend(void **state) {
    (void)state;
    gpu_or_skip();
    twin_parse_plans();
    static struct twin m;
    static struct cache_copy c, again;
    double moments[3] = {0};
    for (int round = 0; round < 3 * TWIN_PLANS; round++) {
        struct cuda_pass pass = open_cache(round % 2 ? 64 : 24, round % 2 ? 64 : 32);
        int plan = round % TWIN_PLANS, row = gpu_random_below(WIDTH);
        twin_open(&m, plan, 1 + gpu_random_below(150));
        int tokens = round < TWIN_PLANS ? m.n_prompt : m.n_prompt + gpu_random_below(500);
        struct cuda_join join = {.row = twin_row(&m, 5), .index = row, .base = 11};
        join.row.worst = pages_of(m.capacity < TWIN_TOTAL ? m.capacity : TWIN_TOTAL);
        cuda_enter(&pass, gpu_copy_in(&join, sizeof join), 1, NULL);
        cuda_pretend_row(&pass, row, tokens, 7, NULL);
        while (m.position < tokens - 1)
            twin_feed(&m);
        struct cuda_row rows[WIDTH];
        gpu_copy_out(rows, pass.rows, sizeof rows);
        twin_check(&m, &rows[row]);
        assert_int_equal(rows[row].next, join.row.next);
        copy_cache(&c, &pass);
        check_pretended(&pass, &c, &join, &m, moments);
        cuda_pretend_row(&pass, row, tokens, 7, NULL);
        copy_cache(&again, &pass);
        size_t kv = (size_t)POOL_PAGES * 2 * PAGE * (size_t)pass.cache.head * sizeof(uint16_t);
        assert_memory_equal(again.kv, c.kv, kv);
        assert_memory_equal(again.slot_column, c.slot_column, sizeof c.slot_column);
        free_copy(&c);
        free_copy(&again);
        twin_close(&m);
        gpu_teardown(NULL);
    }
    assert_true(fabs(moments[1] / moments[0]) < 0.01);
    assert_true(fabs(moments[2] / moments[0] - 1) < 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_rows_join_and_leave, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rows_pretend, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
