/* Prefill on the device: what is appended, attention and softmax mass against double loops, for
 * prompts of 1 to 150 tokens in one pack; and the same bits for a prompt whatever else is in the
 * pack, wherever it begins, however the pack is cut into chunks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/cuda_device.h"
#include "engine/rope.h"
#include "tests/gpu.h"

enum { PROMPTS = 5, USUAL = 70, LONGEST = 150, POISON = 0xA5A5 /* of gpu_alloc */ };

struct kind {
    int head_size, cache_head, group, n_kv;
    bool norm;
};
static const struct kind kinds[] = {
    {32, 32, 1, 2, false},  {64, 64, 2, 2, false},   {64, 64, 3, 1, true},
    {96, 128, 7, 1, false}, {128, 128, 7, 2, true},  {128, 128, 16, 1, false},
    {256, 256, 2, 1, true}, {256, 256, 3, 1, false}, {10, 32, 3, 2, false},
    {40, 64, 1, 3, true},   {2, 32, 2, 1, false},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* A pack: what goes in, and what comes out. */
struct pack {
    struct kind kind;
    int n_heads, stride, n_prompts, rows;
    struct cuda_prompt prompts[PROMPTS]; /* plan 0 observes its prompt, plan 1 doesn't */
    const float *q_norm, *k_norm, *rope; /* of the kind; norms are NULL without */
    float *input;                        /* [rows][stride]: q, k, v of every head */

    float *qkv, *lse, *mass; /* [rows][stride], [rows][n_heads], [n_kv][rows] */
    uint16_t *kv, *out;      /* workspace; [rows][n_heads * head_size] attention's output */
};

static size_t page_size(const struct pack *p) { return (size_t)(2 * PAGE * p->kind.cache_head); }
static int width_of(const struct pack *p) { return p->n_heads * p->kind.head_size; }

static struct pack new_pack(struct kind kind, int n_prompts, const int *lengths) {
    struct pack p = {.kind = kind, .n_heads = kind.group * kind.n_kv, .n_prompts = n_prompts};
    p.stride = (p.n_heads + 2 * kind.n_kv) * kind.head_size;
    for (int i = 0; i < n_prompts; i++) {
        int observed = i % 2 ? gpu_random_below(lengths[i] + 1) : 0;
        p.prompts[i] =
            (struct cuda_prompt){i, p.rows, lengths[i], gpu_random_below(3) == 0, observed};
        p.rows += pages_of(lengths[i]) * PAGE;
    }
    size_t rows = (size_t)p.rows, pages = rows / PAGE * (size_t)kind.n_kv;
    p.input = malloc(rows * (size_t)p.stride * sizeof(float));
    for (size_t i = 0; i < rows * (size_t)p.stride; i++)
        p.input[i] = 1.5f * gpu_random_normal();
    p.qkv = malloc(rows * (size_t)p.stride * sizeof(float));
    p.lse = malloc(rows * (size_t)p.n_heads * sizeof(float));
    p.mass = malloc(rows * (size_t)kind.n_kv * sizeof(float));
    p.kv = malloc(pages * page_size(&p) * sizeof(uint16_t));
    p.out = malloc(rows * (size_t)width_of(&p) * sizeof(uint16_t));
    return p;
}

static void drop(struct pack *p) {
    free(p->input), free(p->qkv), free(p->lse), free(p->mass), free(p->kv), free(p->out);
}

static float *new_rope(int head_size) {
    float *rope = test_malloc((size_t)(LONGEST * head_size) * sizeof *rope);
    for (int p = 0; p < LONGEST; p++)
        for (int i = 0; i < head_size / 2; i++) {
            double angle = p * pow(100, -2.0 * i / head_size);
            rope[p * head_size + i] = (float)cos(angle);
            rope[p * head_size + head_size / 2 + i] = (float)sin(angle);
        }
    return rope;
}

/* --- running -------------------------------------------------------------------------------- */

/* Takes rows 0..n-1 to out; everything else must be as it was. */
static void take_acts(const struct pack *p, const struct cuda_acts *acts, int n, uint16_t *out) {
    size_t count = (size_t)CUDA_SEGMENTS * (size_t)acts->chunks * (size_t)acts->rows * 64;
    uint16_t *host = malloc(count * sizeof *host);
    gpu_copy_out(host, acts->data, count * sizeof *host);
    for (int row = 0; row < n; row++)
        for (int k = 0; k < width_of(p); k++) {
            size_t at = acts_at(*acts, row, k);
            out[row * width_of(p) + k] = host[at];
            host[at] = POISON;
        }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(host[i], POISON);
    free(host);
}

static void run_chunk(struct pack *p, const struct cuda_prefill *f, int from, int n) {
    size_t row = (size_t)p->stride * sizeof(float);
    float *qkv = gpu_copy_in(p->input + (size_t)from * (size_t)p->stride, (size_t)n * row);
    float *q_norm = NULL, *k_norm = NULL;
    if (p->q_norm) {
        q_norm = gpu_copy_in(p->q_norm, (size_t)p->kind.head_size * sizeof *q_norm);
        k_norm = gpu_copy_in(p->k_norm, (size_t)p->kind.head_size * sizeof *k_norm);
    }
    struct cuda_acts acts = cuda_acts_for((n + 8) / 8 * 8, width_of(p));
    acts.data = gpu_alloc(cuda_acts_bytes(acts));
    cuda_prompt_append(f, qkv, from, n, q_norm, k_norm, NULL);
    cuda_prompt_attend(f, qkv, from, n, &acts, NULL);
    if (f->any_mass)
        cuda_prompt_mass(f, qkv, from, n, NULL);
    gpu_copy_out(p->qkv + (size_t)from * (size_t)p->stride, qkv, (size_t)n * row);
    take_acts(p, &acts, n, p->out + (size_t)from * (size_t)width_of(p));
    gpu_free(qkv), gpu_free(q_norm), gpu_free(k_norm), gpu_free(acts.data);
}

/* Memory full of NaN: whoever reads what was never written gives himself away. */
static void *nans(size_t bytes) {
    void *host = malloc(bytes), *device;
    memset(host, 0xff, bytes);
    device = gpu_copy_in(host, bytes);
    free(host);
    return device;
}

static struct cuda_prefill device_pack(const struct pack *p, bool mass) {
    const struct kind *k = &p->kind;
    size_t rows = (size_t)p->rows;
    struct cuda_plan plans[2];
    int32_t block_prompt[PROMPTS * LONGEST];
    memset(plans, 0, sizeof plans);
    plans[0].observe_prompt = 1;
    for (int i = 0; i < p->n_prompts; i++)
        for (int j = 0; j < pages_of(p->prompts[i].n); j++)
            block_prompt[p->prompts[i].first / PAGE + j] = i;
    return (struct cuda_prefill){
        .shape = {.n_heads = p->n_heads,
                  .n_kv_heads = k->n_kv,
                  .group = k->group,
                  .head_size = k->head_size,
                  .cache_head = k->cache_head,
                  .eps = 1e-5f},
        .prompts = gpu_copy_in(p->prompts, (size_t)p->n_prompts * sizeof *p->prompts),
        .n_prompts = p->n_prompts,
        .block_prompt = gpu_copy_in(block_prompt, rows / PAGE * sizeof *block_prompt),
        .pages = p->rows / PAGE,
        .kv = nans((size_t)k->n_kv * rows / PAGE * page_size(p) * sizeof(uint16_t)),
        .lse = mass ? nans(rows * (size_t)p->n_heads * sizeof(float)) : NULL,
        .mass = mass ? nans(rows * (size_t)k->n_kv * sizeof(float)) : NULL,
        .any_mass = mass,
        .plans = gpu_copy_in(plans, sizeof plans),
        .scale = 1 / sqrtf((float)k->head_size),
        .rope = gpu_copy_in(p->rope, (size_t)(LONGEST * k->head_size) * sizeof(float))};
}

/* Feeds the pack in chunks of so many rows. */
static void run(struct pack *p, int chunk, bool mass) {
    struct cuda_prefill f = device_pack(p, mass);
    for (int from = 0; from < p->rows; from += chunk)
        run_chunk(p, &f, from, p->rows - from < chunk ? p->rows - from : chunk);
    size_t rows = (size_t)p->rows, n_kv = (size_t)p->kind.n_kv;
    gpu_copy_out(p->kv, f.kv, n_kv * rows / PAGE * page_size(p) * sizeof *p->kv);
    if (mass) {
        gpu_copy_out(p->lse, f.lse, rows * (size_t)p->n_heads * sizeof *p->lse);
        gpu_copy_out(p->mass, f.mass, rows * n_kv * sizeof *p->mass);
    }
    gpu_free((void *)f.prompts), gpu_free((void *)f.block_prompt), gpu_free(f.kv);
    gpu_free(f.lse), gpu_free(f.mass), gpu_free((void *)f.plans), gpu_free((void *)f.rope);
}

/* --- against double loops ------------------------------------------------------------------- */

static void must_be_near(double got, double wanted, double error, const char *what) {
    if (!(fabs(got - wanted) <= error))
        fail_msg("%s: %.9g, expected %.9g within %.2g", what, got, wanted, error);
}

/* Head norm and rotation of head number `head` of a row. */
static void prepared(const struct pack *p, int row, int head, int position, const float *gain,
                     float *out) {
    const int d = p->kind.head_size;
    const float *x = p->input + (size_t)row * (size_t)p->stride + (size_t)(head * d);
    double squares = 0;
    for (int i = 0; i < d; i++)
        squares += (double)x[i] * x[i];
    for (int i = 0; i < d; i++)
        out[i] = gain ? (float)(x[i] / sqrt(squares / d + 1e-5) * gain[i]) : x[i];
    rope_rotate(out, p->rope + position * d, d, 1, out);
}

static float key_of(const struct pack *p, int kv, int row, int d) {
    size_t page = (size_t)(kv * (p->rows / PAGE) + row / PAGE);
    return bf16_to_float(p->kv[page * page_size(p) + (size_t)key_at(row % PAGE, d)]);
}
static float value_of(const struct pack *p, int kv, int row, int d) {
    size_t page = (size_t)(kv * (p->rows / PAGE) + row / PAGE);
    return bf16_to_float(
        p->kv[page * page_size(p) + (size_t)value_at(p->kind.cache_head, row % PAGE, d)]);
}

/* Row `position` of a prompt, real or padding: its q, k and v. */
static void check_row(const struct pack *p, const struct cuda_prompt *prompt, int position) {
    const int d = p->kind.head_size, row = prompt->first + position;
    const float *in = p->input + (size_t)row * (size_t)p->stride;
    const float *got = p->qkv + (size_t)row * (size_t)p->stride;
    float wanted[256];
    bool real = position < prompt->n;
    for (int head = 0; real && head < p->n_heads; head++) {
        prepared(p, row, head, position, p->q_norm, wanted);
        for (int i = 0; i < d; i++)
            must_be_near(got[head * d + i], wanted[i], 2e-5, "query");
    }
    assert_memory_equal(got + p->n_heads * d, in + p->n_heads * d,
                        (size_t)(2 * p->kind.n_kv * d) * sizeof(float));
    for (int kv = 0; kv < p->kind.n_kv; kv++) {
        if (real)
            prepared(p, row, p->n_heads + kv, position, p->k_norm, wanted);
        for (int i = 0; i < p->kind.cache_head; i++) {
            float k = real && i < d ? wanted[i] : 0;
            float v = real && i < d ? in[(p->n_heads + p->kind.n_kv + kv) * d + i] : 0;
            must_be_near(key_of(p, kv, row, i), k, fabs(k) / 256 + (k != 0) * 2e-5, "key");
            must_be_near(value_of(p, kv, row, i), bf16_to_float(bf16_of(v)), 0, "value");
        }
    }
}

/* Attention of one query from what the device itself appended; adds to the keys' mass. */
static void check_query(const struct pack *p, const struct cuda_prompt *prompt, int position,
                        int head, bool mass, double *all_mass) {
    const int d = p->kind.head_size, row = prompt->first + position, kv = head / p->kind.group;
    const float *q = p->qkv + (size_t)row * (size_t)p->stride + (size_t)(head * d);
    double prob[LONGEST], sum = 0;
    for (int j = 0; j <= position; j++) {
        double s = 0;
        for (int i = 0; i < d; i++)
            s += (double)bf16_to_float(bf16_of(q[i])) * key_of(p, kv, prompt->first + j, i);
        sum += prob[j] = exp(s / sqrt(d));
    }
    if (mass)
        must_be_near(p->lse[row * p->n_heads + head], log(sum), 1e-4, "lse");
    for (int j = 0; j <= position; j++)
        prob[j] /= sum, all_mass[j] += position >= prompt->observed ? prob[j] : 0;
    for (int i = 0; i < d; i++) {
        double wanted = 0, size = 0;
        for (int j = 0; j <= position; j++) {
            double v = prob[j] * value_of(p, kv, prompt->first + j, i);
            wanted += v, size += fabs(v);
        }
        uint16_t got = p->out[row * width_of(p) + head * d + i];
        must_be_near(bf16_to_float(got), wanted, 0.008 * size, "output");
    }
}

static void check_prompt(const struct pack *p, const struct cuda_prompt *prompt, bool mass) {
    for (int i = 0; i < pages_of(prompt->n) * PAGE; i++)
        check_row(p, prompt, i);
    for (int kv = 0; kv < p->kind.n_kv; kv++) {
        double wanted[LONGEST] = {0};
        for (int g = 0; g < p->kind.group; g++)
            for (int i = 0; i < prompt->n; i++)
                check_query(p, prompt, i, kv * p->kind.group + g, mass, wanted);
        const float *got = p->mass + kv * p->rows + prompt->first;
        const uint32_t untouched = UINT32_MAX;
        for (int i = 0; mass && i < prompt->n; i++)
            if (prompt->plan == 0)
                must_be_near(got[i], wanted[i], 1e-4 * (1 + wanted[i]), "mass");
            else
                assert_memory_equal(&got[i], &untouched, sizeof untouched);
    }
    for (int i = 0; i < pages_of(prompt->n) * PAGE * width_of(p); i++) /* padding too */
        assert_true(isfinite(bf16_to_float(p->out[prompt->first * width_of(p) + i])));
}

static void random_lengths(int *lengths) {
    static const int edges[] = {1, 15, 16, 17, 32, 33, 64, LONGEST};
    for (int i = 0; i < PROMPTS; i++)
        lengths[i] = gpu_random_below(2) ? edges[gpu_random_below(8)] : 1 + gpu_random_below(USUAL);
}

static struct pack random_pack(int kind) {
    int lengths[PROMPTS];
    random_lengths(lengths);
    struct pack p = new_pack(kinds[kind], PROMPTS, lengths);
    p.rope = new_rope(p.kind.head_size);
    if (p.kind.norm) {
        p.q_norm = gpu_random_floats((size_t)p.kind.head_size, 1);
        p.k_norm = gpu_random_floats((size_t)p.kind.head_size, 1);
    }
    return p;
}

static void drop_random(struct pack *p) {
    test_free((void *)p->rope);
    if (p->kind.norm)
        test_free((void *)p->q_norm), test_free((void *)p->k_norm);
    drop(p);
}

static void test_cuda_prefill_against_double_loops(void **state) {
    (void)state;
    gpu_or_skip();
    for (int kind = 0; kind < KINDS; kind++)
        for (int mass = 0; mass < 2; mass++) {
            struct pack p = random_pack(kind);
            run(&p, mass ? 48 : p.rows, mass);
            for (int i = 0; i < p.n_prompts; i++)
                check_prompt(&p, &p.prompts[i], mass);
            drop_random(&p);
        }
}

/* --- neighbours and chunks ------------------------------------------------------------------ */

static void same(const void *a, const void *b, size_t size, const char *what) {
    if (memcmp(a, b, size) != 0)
        fail_msg("%s depends on what else is in the pack, or on chunks", what);
}

/* A prompt of one pack and the only one of another. */
static void must_be_same(const struct pack *all, const struct cuda_prompt *prompt,
                         const struct pack *alone) {
    const size_t first = (size_t)prompt->first, n = (size_t)prompt->n, rows = (size_t)alone->rows;
    const size_t width = (size_t)width_of(all), heads = (size_t)all->n_heads;
    same(all->out + first * width, alone->out, n * width * sizeof *all->out, "attention");
    same(all->lse + first * heads, alone->lse, n * heads * sizeof *all->lse, "lse");
    for (size_t kv = 0; kv < (size_t)all->kind.n_kv; kv++) {
        same(all->kv + (kv * (size_t)all->rows + first) / PAGE * page_size(all),
             alone->kv + kv * rows / PAGE * page_size(all),
             rows / PAGE * page_size(all) * sizeof *all->kv, "the workspace");
        same(all->mass + kv * (size_t)all->rows + first, alone->mass + kv * rows,
             n * sizeof *all->mass, "mass");
    }
}

static void test_cuda_prefill_knows_no_neighbours(void **state) {
    (void)state;
    gpu_or_skip();
    for (int kind = 0; kind < KINDS; kind++) {
        struct pack all = random_pack(kind);
        run(&all, 16 * (1 + gpu_random_below(4)), true);
        for (int i = 0; i < all.n_prompts; i++) {
            const struct cuda_prompt *prompt = &all.prompts[i];
            struct pack alone = new_pack(all.kind, 1, &prompt->n);
            alone.prompts[0].plan = prompt->plan;
            alone.prompts[0].observed = prompt->observed;
            alone.q_norm = all.q_norm, alone.k_norm = all.k_norm, alone.rope = all.rope;
            memcpy(alone.input, all.input + (size_t)prompt->first * (size_t)all.stride,
                   (size_t)alone.rows * (size_t)all.stride * sizeof *all.input);
            run(&alone, gpu_random_below(2) ? 16 : alone.rows, true);
            must_be_same(&all, prompt, &alone);
            drop(&alone);
        }
        drop_random(&all);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_prefill_against_double_loops, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_prefill_knows_no_neighbours, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
