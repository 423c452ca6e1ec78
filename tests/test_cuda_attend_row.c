/* One row alone, prepared by attention itself: the bits of prepare, attend and merge one after the
 * other, in outputs and in the cache, for odd heads, groups and lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "tests/cuda_rig.h"
#include "tests/tiny.h"

enum { LAYERS = 2, LAYER = 1, KV = 3, ROOM = 190 };

struct bench {
    struct rig rig;
    struct plan plan;
    struct cuda_acts acts;
    void *q_norm, *k_norm; /* gains or NULL */
};
struct outcome { /* host copies */
    uint16_t *acts, *kv;
    int32_t *position;
    uint32_t *live;
};

static size_t kv_bytes(const struct rig *rig) {
    return (size_t)rig->n_pages * page_elements(rig->shape.cache_head) * sizeof(uint16_t);
}

static void bench_open(struct bench *b, const int shape[3], bool gains) {
    int group = shape[0], size = shape[1], head = shape[2];
    struct cuda_shape s = {.n_layers = LAYERS,
                           .n_heads = group * KV,
                           .n_kv_heads = KV,
                           .group = group,
                           .head_size = size,
                           .cache_head = head,
                           .eps = 1e-6f};
    b->plan = tiny_plan("full");
    rig_open(&b->rig, s, 1, ROOM, &b->plan, false);
    struct cuda_pass *p = &b->rig.pass;
    size_t part = (size_t)(KV * CUDA_PARTS * attend_part_floats(group, head)) * sizeof(float);
    int32_t done[KV] = {0};
    p->max_work = p->max_chunks = CUDA_PARTS;
    p->part = gpu_alloc(part);
    p->done = gpu_copy_in(done, sizeof done);
    b->acts = cuda_acts_for(1, KV * group * size);
    b->acts.data = gpu_alloc(cuda_acts_bytes(b->acts));
    if (gains) {
        float *gain = gpu_random_floats((size_t)size, 1);
        b->q_norm = gpu_copy_in(gain, (size_t)size * sizeof *gain);
        b->k_norm = gpu_copy_in(gain, (size_t)size * sizeof *gain);
        test_free(gain);
    }
}

/* A row of n tokens, the last of them under way, and its work. */
static void put_row(struct bench *b, int n) {
    struct cuda_pass *p = &b->rig.pass;
    int pages = (n + PAGE - 1) / PAGE, each = chunk_pages(0, pages);
    int chunks = (pages + each - 1) / each;
    struct cuda_work work[CUDA_PARTS] = {{0}};
    int32_t n_work[4] = {chunks, chunks, 0, 0};
    b->rig.rows[0] = rig_row(&b->rig, 0, 1, (ROOM - 1) * PAGE, 1);
    b->rig.rows[0].active = 1, b->rig.rows[0].position = n - 1;
    b->rig.rows[0].n_live = n, b->rig.rows[0].n_pages = pages;
    b->rig.rows[0].opens = n % PAGE == 1;
    rig_put_rows(&b->rig);
    for (int i = 0; i < chunks; i++)
        work[i] = (struct cuda_work){.chunk = (uint16_t)i,
                                     .n_chunks = (uint16_t)chunks,
                                     .pages = (uint16_t)pages,
                                     .last = (uint16_t)(n - (pages - 1) * PAGE),
                                     .flags = CUDA_WORK_STILL};
    p->work = gpu_copy_in(work, sizeof work);
    p->n_work = gpu_copy_in(n_work, sizeof n_work);
}

/* Random keys and values in all pages; the last one's are live up to the token under way. */
static void put_cache(struct bench *b, int n, const uint16_t *kv) {
    const struct rig *rig = &b->rig;
    uint32_t *live = test_calloc((size_t)rig->n_pages, sizeof *live);
    for (int h = 0; h < LAYERS * KV; h++)
        for (int i = 0; i * PAGE < n - 1; i++) {
            int in = n - 1 - i * PAGE;
            live[rig->table[h * ROOM + i]] = in < PAGE ? (1u << in) - 1 : 0xffff;
        }
    gpu_write(rig->pass.cache.live, live, (size_t)rig->n_pages * sizeof *live);
    gpu_write(rig->pass.cache.kv, kv, kv_bytes(rig));
    test_free(live);
}

static uint16_t *draw_cache(const struct rig *rig) {
    size_t n = kv_bytes(rig) / sizeof(uint16_t);
    uint16_t *kv = test_malloc(kv_bytes(rig));
    for (size_t i = 0; i < n; i++)
        kv[i] = bf16_of(gpu_random_float());
    return kv;
}

static struct outcome look(const struct bench *b) {
    const struct rig *rig = &b->rig;
    size_t pages = (size_t)rig->n_pages, acts = cuda_acts_bytes(b->acts);
    struct outcome o = {test_malloc(acts), test_malloc(kv_bytes(rig)),
                        test_malloc(pages * PAGE * sizeof(int32_t)),
                        test_malloc(pages * sizeof(uint32_t))};
    gpu_copy_out(o.acts, b->acts.data, acts);
    gpu_copy_out(o.kv, rig->pass.cache.kv, kv_bytes(rig));
    gpu_copy_out(o.position, rig->pass.cache.position, pages * PAGE * sizeof(int32_t));
    gpu_copy_out(o.live, rig->pass.cache.live, pages * sizeof(uint32_t));
    return o;
}

static void forget(struct outcome *o) {
    test_free(o->acts), test_free(o->kv), test_free(o->position), test_free(o->live);
}

static void compare(struct bench *b, int n) {
    struct cuda_pass *p = &b->rig.pass;
    const struct cuda_shape *s = &p->shape;
    int floats = (s->n_heads + 2 * KV) * s->head_size;
    float *qkv = gpu_random_floats((size_t)floats, 1);
    uint16_t *kv = draw_cache(&b->rig);
    gpu_write(p->qkv, qkv, (size_t)floats * sizeof *qkv);
    put_row(b, n);
    put_cache(b, n, kv);
    cuda_prepare(p, LAYER, b->q_norm, b->k_norm, NULL);
    cuda_attend(p, LAYER, false, &b->acts, NULL);
    struct outcome apart = look(b);
    put_cache(b, n, kv);
    for (int again = 0; again < 2; again++) { /* counters must be left at zero */
        cuda_attend_row(p, LAYER, b->q_norm, b->k_norm, &b->acts, NULL);
        gpu_check();
    }
    struct outcome at_once = look(b);
    char what[100];
    snprintf(what, sizeof what, "group %d, head %d, %d tokens", s->group, s->head_size, n);
    print_message("%s\n", what);
    assert_memory_equal(at_once.acts, apart.acts, cuda_acts_bytes(b->acts));
    assert_memory_equal(at_once.kv, apart.kv, kv_bytes(&b->rig));
    assert_memory_equal(at_once.position, apart.position,
                        (size_t)b->rig.n_pages * PAGE * sizeof(int32_t));
    assert_memory_equal(at_once.live, apart.live, (size_t)b->rig.n_pages * sizeof(uint32_t));
    forget(&apart), forget(&at_once);
    test_free(kv), test_free(qkv);
}

static void test_cuda_attend_row_has_the_bits_of_its_parts(void **state) {
    (void)state;
    static const int shapes[][3] = {{1, 32, 32},   {7, 128, 128},  {6, 128, 128}, {2, 64, 64},
                                    {8, 20, 32},   {16, 128, 128}, {9, 256, 256}, {4, 80, 128},
                                    {3, 256, 256}, {12, 64, 64}};
    static const int lengths[] = {1, 2, 16, 17, 31, 100, 129, 513, 1024, 1025, 1500, 2049, 3001};
    gpu_or_skip();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bench b = {0};
        bench_open(&b, shapes[i], i % 2);
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++)
            compare(&b, lengths[j]);
        rig_close(&b.rig);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_attend_row_has_the_bits_of_its_parts, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
