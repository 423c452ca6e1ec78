/* What follows from signals that are made up: tokens selected and columns observed from softmax
 * mass that attention left behind, pages selected and stamped by bounds among hundreds. Expected
 * values are plain double loops; sums in another order may only decide between units that are equal
 * but for rounding, and of units that are equal the older one is taken. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/kernels/cuda_rules.h"
#include "tests/cuda_rig.h"
#include "tests/tiny.h"

enum { KV = 2, ROOM = 60, SLOTS = ROOM * PAGE, MANY = 700 };

static void append_nothing(void *page, int s, int head_size, const float *k, const float *v,
                           void *bounds, bool first) {
    (void)page, (void)s, (void)head_size, (void)k, (void)v, (void)bounds, (void)first;
}
static const struct cpu_kernels no_arithmetic = {
    .isa = "none", .cache_size = 2, .append = append_nothing};

/* n tokens fed to a head; holes: with evictions here and there, tokens or pages. */
static void feed_twin(const struct rig *rig, struct host_head *t, int row, int32_t n,
                      const char *victims) {
    struct plan plan = victims ? tiny_plan(victims) : rig->plans[row];
    float zero[32] = {0};
    struct head_step step = rig_step(rig, t, row);
    step.plan = &plan;
    if (victims)
        step.capacity = plan.budget;
    step.needs = plan_page_needs(&rig->plans[row]);
    for (int32_t i = 0; i < n; i++) {
        step.now = i;
        rules_make_room(&step, NULL);
        head_append(step.pool, step.head, step.needs, i, 0.25f * (float)gpu_random_below(8), zero,
                    zero);
    }
    for (int i = 0; i < t->head.n_pages; i++)
        t->pool.page_column[t->head.table[i]] = (float)gpu_random_below(n - 1);
}

/* Row 0 of a pass, with heads of their own, in the state of so many tokens. */
static void open_heads(struct rig *rig, struct host_head twins[KV], struct plan *plan, int group,
                       int32_t n, const char *victims) {
    struct cuda_shape shape = {.n_layers = 1,
                               .n_heads = KV * group,
                               .n_kv_heads = KV,
                               .group = group,
                               .head_size = 32,
                               .cache_head = 32};
    rig_open(rig, shape, 1, ROOM, plan, false);
    rig->rows[0] = rig_row(rig, 0, 1, SLOTS - PAGE, gpu_random());
    for (int kv = 0; kv < KV; kv++) {
        host_head_open(&twins[kv], &no_arithmetic, 32, ROOM);
        feed_twin(rig, &twins[kv], 0, n, victims);
        rig_put_head(rig, 0, 0, kv, &twins[kv]);
    }
    rig->rows[0].position = n - 1;
    rig->rows[0].n_live = twins[0].head.n_live, rig->rows[0].n_pages = twins[0].head.n_pages;
    rig_put_rows(rig);
}

/* Scores as attention leaves them: -inf in dead slots. few: many tokens have the same ones. */
struct masses {
    float score[CUDA_GROUP][SLOTS];
    double mass[SLOTS];
};

static void draw_masses(const struct rig *rig, struct masses *m, const struct host_head *t, int kv,
                        bool few) {
    int group = rig->shape.group, n = t->head.n_pages * PAGE;
    float softmax[CUDA_GROUP][2];
    memset(m->mass, 0, sizeof m->mass);
    for (int g = 0; g < group; g++) {
        float most = -INFINITY, sum = 0;
        for (int i = 0; i < n; i++) {
            bool live = t->head.live[i / PAGE] >> i % PAGE & 1;
            float x = few ? (float)(i * 7 % 11) - (float)g : 2 * gpu_random_normal();
            m->score[g][i] = live ? x : -INFINITY;
            most = m->score[g][i] > most ? m->score[g][i] : most;
        }
        for (int i = 0; i < n; i++)
            sum += expf(m->score[g][i] - most);
        for (int i = 0; i < n; i++)
            m->mass[i] += exp((double)m->score[g][i] - (double)most) / (double)sum;
        softmax[g][0] = most, softmax[g][1] = sum;
        gpu_write(rig->pass.score + ((size_t)(kv * group + g) * SLOTS), m->score[g],
                  (size_t)n * sizeof(float));
    }
    gpu_write(rig->pass.softmax + (size_t)(kv * CUDA_GROUP * 2), softmax,
              (size_t)group * sizeof *softmax);
}

static bool same_scores(const struct masses *m, int group, int i, int j) {
    for (int g = 0; g < group; g++)
        if (m->score[g][i] != m->score[g][j])
            return false;
    return true;
}

/* --- token selection -------------------------------------------------------------------------- */

static void check_chosen(const struct rig *rig, const struct host_head *t, const struct masses *m,
                         const uint32_t *chosen, int budget) {
    int n = 0, slots = t->head.n_pages * PAGE;
    for (int i = 0; i < slots; i++) {
        if (!(chosen[i / PAGE] >> i % PAGE & 1))
            continue;
        n++;
        assert_true(t->head.live[i / PAGE] >> i % PAGE & 1);
        for (int j = 0; j < slots; j++) {
            bool other = t->head.live[j / PAGE] >> j % PAGE & 1;
            if (!other || chosen[j / PAGE] >> j % PAGE & 1)
                continue;
            if (m->mass[j] > m->mass[i] * (1 + 1e-5) ||
                (j < i && same_scores(m, rig->shape.group, i, j)))
                fail_msg("budget %d of %d: token %d with mass %.9g is in, token %d with %.9g not",
                         budget, t->head.n_live, i, m->mass[i], j, m->mass[j]);
        }
    }
    assert_int_equal(n, budget < t->head.n_live ? budget : t->head.n_live);
}

static void select_from(int group, int32_t n, int budget, bool few) {
    struct rig rig;
    struct host_head twins[KV];
    struct masses *m = test_malloc(KV * sizeof *m);
    char spelling[64];
    snprintf(spelling, sizeof spelling, "oracle:budget=%d", budget);
    struct plan plan = tiny_plan(spelling);
    uint32_t chosen[KV][ROOM];
    open_heads(&rig, twins, &plan, group, n, NULL);
    for (int kv = 0; kv < KV; kv++)
        draw_masses(&rig, &m[kv], &twins[kv], kv, few);
    cuda_select(&rig.pass, 0, NULL);
    gpu_check();
    gpu_copy_out(chosen, rig.pass.chosen, sizeof chosen);
    for (int kv = 0; kv < KV; kv++) {
        check_chosen(&rig, &twins[kv], &m[kv], chosen[kv], budget);
        host_head_close(&twins[kv]);
    }
    rig_close(&rig);
    test_free(m);
}

static void test_cuda_rules_select_tokens(void **state) {
    (void)state;
    gpu_or_skip();
    static const int groups[] = {1, 3, 7, 16};
    for (int i = 0; i < 16; i++) {
        int32_t n = 2 + gpu_random_below(i % 2 ? 100 : SLOTS - PAGE - 2);
        select_from(groups[i % 4], n, 1 + gpu_random_below(n), i >= 8);
        select_from(groups[i % 4], n, n + i % 3, i >= 8);
    }
}

/* --- observe ---------------------------------------------------------------------------------- */

/* What observe makes of columns that are sums: as they are, one more, or of this signal alone. */
static void check_tokens(const struct rig *rig, const struct host_head *t, int kv,
                         const struct masses *m) {
    const int32_t *table = rig_table(rig, 0, 0, kv);
    const struct plan *plan = rig->plans;
    int left = rig->rows[0].capacity - t->head.n_live;
    bool fresh = plan->window && left == plan->window - 1;
    double times = !plan->window || left < plan->window;
    for (int i = 0; i < t->head.n_pages * PAGE; i++) {
        if (!(t->head.live[i / PAGE] >> i % PAGE & 1))
            continue;
        double before = (double)t->pool.slot_column[t->head.table[i / PAGE] * PAGE + i % PAGE];
        before = fresh ? 0 : before;
        double got = (double)rig->slot_column[table[i / PAGE] * PAGE + i % PAGE];
        if (!(fabs(got - before - times * m->mass[i]) <= 2e-6 * (1 + before)))
            fail_msg("%s, %d to come: column of place %d went from %.9g to %.9g, expected %.9g "
                     "more",
                     plan->name, left, i, before, got, times * m->mass[i]);
    }
}

/* Pages are stamped or keep their stamp; by what is said of `signal` in the plan. */
static void check_stamps(const struct rig *rig, const struct host_head *t, int kv,
                         const double *signal) {
    const int32_t *table = rig_table(rig, 0, 0, kv);
    const struct plan *plan = rig->plans;
    int n = t->head.n_pages, n_marked = 0;
    bool marked[MANY];
    for (int i = 0; i < n; i++) {
        float got = rig->page_column[table[i]];
        marked[i] = got == (float)rig->rows[0].position;
        if (!marked[i] && got != t->pool.page_column[t->head.table[i]])
            fail_msg("page %d: column %g, expected %g or a new stamp", i, (double)got,
                     (double)t->pool.page_column[t->head.table[i]]);
        n_marked += marked[i];
    }
    int expected = (int)ceil(plan->mark_at * n);
    assert_true(marked[n - 1]);
    if (plan->mark == MARK_TOP)
        assert_in_range(n_marked, expected, expected + 1);
    for (int i = 0; i < n - 1; i++)
        for (int j = 0; marked[i] && j < n - 1; j++)
            if (!marked[j] &&
                (signal[j] > signal[i] * (1 + 1e-5) || (j < i && signal[i] == signal[j])))
                fail_msg("%s: page %d with signal %.9g is marked, page %d with %.9g not",
                         plan->name, i, signal[i], j, signal[j]);
    for (int i = 0; plan->mark == MARK_ABOVE && i < n - 1; i++)
        if (fabs(signal[i] - plan->mark_at) > 1e-5 && marked[i] != (signal[i] > plan->mark_at))
            fail_msg("%s: page %d with signal %.9g is %smarked", plan->name, i, signal[i],
                     marked[i] ? "" : "not ");
}

static void observe(const char *spelling, const char *victims, int group, int32_t n) {
    struct rig rig;
    struct host_head twins[KV];
    struct masses *m = test_malloc(KV * sizeof *m);
    struct plan plan = tiny_plan(spelling);
    open_heads(&rig, twins, &plan, group, n, victims);
    for (int kv = 0; kv < KV; kv++)
        draw_masses(&rig, &m[kv], &twins[kv], kv, false);
    cuda_observe(&rig.pass, 0, NULL);
    gpu_check();
    rig_get(&rig);
    for (int kv = 0; kv < KV; kv++) {
        double signal[ROOM] = {0};
        for (int i = 0; i < twins[kv].head.n_pages * PAGE; i++) {
            double *s = &signal[i / PAGE], x = m[kv].mass[i];
            *s = plan.observe == SIGNAL_MASS ? *s + x : x > *s ? x : *s;
        }
        if (plan.evict == UNIT_TOKEN)
            check_tokens(&rig, &twins[kv], kv, &m[kv]);
        else
            check_stamps(&rig, &twins[kv], kv, signal);
        host_head_close(&twins[kv]);
    }
    rig_close(&rig);
    test_free(m);
}

/* In a window of 5 before token 120 is too many. */
static void test_cuda_rules_observe_windows(void **state) {
    (void)state;
    gpu_or_skip();
    for (int32_t n = 113; n <= 120; n++)
        observe("snapkv:budget=100,every=20,window=5", NULL, 3, n);
    for (int32_t n = 148; n <= 150; n++)
        observe("tova:budget=150", NULL, 4, n);
}

static void test_cuda_rules_observe_mass(void **state) {
    (void)state;
    gpu_or_skip();
    static const int groups[] = {1, 7, 16, 4};
    for (int i = 0; i < 8; i++) {
        int32_t n = 200 + gpu_random_below(300);
        observe("h2o:budget=100", "random:budget=90,unit=token", groups[i % 4], n);
        observe("h2o:budget=401", "random:budget=401,unit=token", groups[i % 4], n + 300);
        observe("raas:budget=96,score=prob", "random:budget=96", groups[i % 4], n);
        observe("raas:budget=800,score=prob,page=max,r=0.3", NULL, groups[i % 4], n);
        observe("raas:budget=160,score=prob,alpha=0.0312", "random:budget=160", groups[i % 4], n);
    }
}

/* --- bounds of many pages --------------------------------------------------------------------- */

/* All heads hold n full pages but for the last slot; keys were whatever gave these bounds. */
static void put_many(struct rig *rig, int n, bool whole) {
    size_t head = (size_t)rig->shape.cache_head, all = (size_t)rig->n_pages;
    const struct cuda_cache *c = &rig->pass.cache;
    for (size_t i = 0; i < all * 2 * head; i++) {
        bool pad = i % head >= (size_t)rig->shape.head_size, hi = i / head % 2;
        float x = whole ? (float)gpu_random_below(4) : fabsf(gpu_random_normal());
        rig->bounds[i] = bf16_of(pad ? 0 : hi ? x : -x);
    }
    for (int kv = 0; kv < KV; kv++)
        for (int i = 0; i < n; i++) {
            int32_t page = rig_table(rig, 0, 0, kv)[i];
            rig->live[page] = i < n - 1 ? 0xffff : 0x7fff;
            rig->page_column[page] = (float)gpu_random_below(100);
            for (int s = 0; s < PAGE; s++)
                rig->position[page * PAGE + s] = i * PAGE + s;
        }
    gpu_write(c->bounds, rig->bounds, all * 2 * head * sizeof *rig->bounds);
    gpu_write(c->live, rig->live, all * sizeof *rig->live);
    gpu_write(c->position, rig->position, all * PAGE * sizeof *rig->position);
    gpu_write(c->page_column, rig->page_column, all * sizeof *rig->page_column);
}

/* The largest bound of the group, with the bounds and queries as they are on the device. */
static double bound_of(const struct rig *rig, const float *qkv, int kv, int32_t page) {
    const struct cuda_shape *c = &rig->shape;
    const uint16_t *lo = rig->bounds + (size_t)page * 2 * (size_t)c->cache_head;
    double best = -INFINITY;
    for (int g = 0; g < c->group; g++) {
        const float *q = qkv + (kv * c->group + g) * c->head_size;
        double sum = 0;
        for (int d = 0; d < c->head_size; d++)
            sum += fmax((double)q[d] * (double)bf16_to_float(lo[d]),
                        (double)q[d] * (double)bf16_to_float(lo[c->cache_head + d]));
        best = sum > best ? sum : best;
    }
    return best;
}

static void check_many_view(const struct rig *rig, int kv, int n, const double *bound) {
    int count = rig->rows[0].budget / PAGE, at = 0;
    int32_t view[MANY];
    bool in[MANY] = {false};
    gpu_copy_out(view, rig->pass.view + (size_t)(kv * rig->room), (size_t)count * sizeof *view);
    for (int i = 0; i < n && at < count; i++)
        if (view[at] == rig_table(rig, 0, 0, kv)[i])
            in[i] = true, at++;
    assert_int_equal(at, count); /* pages of the table, ascending */
    assert_true(in[n - 1]);
    for (int i = 0; i < n - 1; i++)
        for (int j = 0; in[i] && j < n - 1; j++)
            if (!in[j] && (bound[j] > bound[i] + 1e-4 || (j < i && bound[i] == bound[j])))
                fail_msg("%d pages: page %d with bound %.9g is in, page %d with %.9g not", n, i,
                         bound[i], j, bound[j]);
}

static void select_among(const char *spelling, int n, int group, int head_size, int cache_head,
                         bool whole) {
    struct cuda_shape shape = {.n_layers = 1,
                               .n_heads = KV * group,
                               .n_kv_heads = KV,
                               .group = group,
                               .head_size = head_size,
                               .cache_head = cache_head};
    struct plan plan = tiny_plan(spelling);
    struct rig rig;
    struct host_head t; /* the columns of before, for check_stamps */
    rig_open(&rig, shape, 1, MANY, &plan, true);
    rig.rows[0] = rig_row(&rig, 0, 1, (MANY - 1) * PAGE, 1);
    rig.rows[0].position = n * PAGE - 1;
    rig.rows[0].n_live = n * PAGE, rig.rows[0].n_pages = n;
    rig_put_rows(&rig);
    put_many(&rig, n, whole);
    size_t floats = (size_t)((shape.n_heads + 2 * KV) * head_size);
    float *qkv = gpu_random_floats(floats, 1);
    for (size_t i = 0; whole && i < floats; i++)
        qkv[i] = (float)(gpu_random_below(5) - 2);
    gpu_write(rig.pass.qkv, qkv, floats * sizeof *qkv);
    host_head_open(&t, &no_arithmetic, 32, MANY);
    t.head.n_pages = n;
    float *columns = test_malloc((size_t)rig.n_pages * sizeof *columns);
    memcpy(columns, rig.page_column, (size_t)rig.n_pages * sizeof *columns);
    cuda_prepare(&rig.pass, 0, NULL, NULL, NULL);
    gpu_check();
    rig_get(&rig);
    for (int kv = 0; kv < KV; kv++) {
        double bound[MANY];
        for (int i = 0; i < n; i++) {
            t.table[i] = i;
            t.pool.page_column[i] = columns[rig_table(&rig, 0, 0, kv)[i]];
            bound[i] = bound_of(&rig, qkv, kv, rig_table(&rig, 0, 0, kv)[i]);
        }
        if (plan.select == UNIT_PAGE)
            check_many_view(&rig, kv, n, bound);
        else
            check_stamps(&rig, &t, kv, bound);
    }
    host_head_close(&t);
    test_free(columns);
    test_free(qkv);
    rig_close(&rig);
}

static void test_cuda_rules_select_among_many_pages(void **state) {
    (void)state;
    gpu_or_skip();
    static const int counts[] = {127, 128, 129, 130, 300, 697};
    static const int shapes[][3] = {
        {7, 128, 128}, {4, 64, 64}, {1, 32, 32}, {12, 80, 128}, {2, 256, 256}};
    for (int i = 0; i < 12; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            const int *s = shapes[j];
            select_among(i % 2 ? "quest:budget=1024" : "quest:budget=48", counts[i % 6], s[0], s[1],
                         s[2], i >= 6);
            select_among("raas:budget=11200,pin_prompt=0,r=0.3", counts[i % 6], s[0], s[1], s[2],
                         i >= 6);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_rules_select_tokens, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_observe_mass, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_observe_windows, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_select_among_many_pages, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
