#include "tests/scripted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct script script;

/* Page and slot of a scripted key are found again through the pool's own positions. */
int32_t script_page_of(const void *bytes) {
    return (int32_t)(((const uint8_t *)bytes - script.pool.kv) / (ptrdiff_t)script.pool.page_bytes);
}

static void scripted_attend(const struct cpu_attention *a) {
    for (int i = 0; i < a->n_pages; i++)
        for (int s = 0; s < PAGE; s++) {
            int32_t key = script.pool.position[script_page_of(a->pages[i]) * PAGE + s];
            float mass = a->live[i] >> s & 1 && script.mass ? script.mass(script.now, key) : 0;
            a->prob[i * PAGE + s] = mass * 0.25f;
            a->prob[(a->n_pages + i) * PAGE + s] = mass * 0.75f;
        }
}

static void scripted_append(void *page, int s, int head_size, const float *k, const float *v,
                            void *bounds, bool first) {
    (void)page, (void)s, (void)head_size, (void)k, (void)v, (void)bounds, (void)first;
}

/* The second query of the group sees less, so the group's max is the script's bound. */
static void scripted_bounds(const float *q, int group, int head_size, const void *const *bounds,
                            int n, float *bound) {
    (void)q, (void)head_size;
    assert_int_equal(group, SCRIPT_GROUP);
    for (int i = 0; i < n; i++) {
        ptrdiff_t page =
            ((const uint8_t *)bounds[i] - script.pool.bounds) / (ptrdiff_t)script.pool.bounds_bytes;
        bound[i] = script.bound(script.now, script.pool.position[page * PAGE] / PAGE);
        bound[n + i] = bound[i] - 1;
    }
}

static void scripted_read(const void *page, int s, int head_size, float *k, float *v) {
    (void)head_size, (void)v;
    script.key(script.pool.position[script_page_of(page) * PAGE + s], k);
}

static const struct cpu_kernels scripted = {.isa = "script",
                                            .cache_size = 4,
                                            .act_size = 4,
                                            .attend = scripted_attend,
                                            .append = scripted_append,
                                            .bounds = scripted_bounds,
                                            .read = scripted_read};

void script_open(void) {
    struct err e = {0};
    assert_true(pool_init(&script.pool, &scripted, SCRIPT_HEAD_SIZE, SCRIPT_ROOM, &e));
    script.head = (struct head){.table = script.table, .live = script.live};
    rules_scratch_init(&script.scratch, SCRIPT_ROOM * PAGE, SCRIPT_GROUP, script.pool.page_bytes,
                       1);
}

void script_close(void) {
    rules_scratch_free(&script.scratch);
    pool_destroy(&script.pool);
    script.mass = NULL;
    script.bound = NULL;
    script.key = NULL;
}

struct head_step script_step(const struct plan *plan, int n_prompt) {
    return (struct head_step){.plan = plan,
                              .pool = &script.pool,
                              .head = &script.head,
                              .needs = plan_page_needs(plan),
                              .group = SCRIPT_GROUP,
                              .n_prompt = n_prompt,
                              .capacity = plan_capacity(plan, n_prompt, SCRIPT_ROOM * PAGE)};
}

void script_take(struct head_step *step, int32_t position, bool prefill) {
    float kv[SCRIPT_HEAD_SIZE] = {0}, q[SCRIPT_GROUP * SCRIPT_HEAD_SIZE] = {0},
          out[SCRIPT_GROUP * SCRIPT_HEAD_SIZE];
    script.now = step->now = position;
    if (!prefill)
        rules_make_room(step, &script.scratch);
    head_append(step->pool, step->head, step->needs, position, 0, kv, kv);
    assert_true(step->head->n_live <= step->capacity || prefill);
    rules_attend(step, &script.scratch, q, 1, prefill ? position + 1 : INT32_MAX, NULL, out);
}

bool script_holds(int32_t position) {
    for (int i = 0; i < script.head.n_pages; i++)
        for (int s = 0; s < PAGE; s++)
            if (script.head.live[i] >> s & 1 &&
                script.pool.position[script.head.table[i] * PAGE + s] == position)
                return true;
    return false;
}
