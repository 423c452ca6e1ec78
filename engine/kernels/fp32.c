/* The reference table, and so the specification: fp32 weights and cache. Every output is one chain
 * of multiply, round, add, round in a fixed order. Vectors only ever span independent outputs, so
 * wider registers change the speed and never a bit. */
#include "engine/cpu_kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/tables.h"
#include "engine/kernels/yardstick.h"

/* Sixteen independent floats; the compiler splits them to what the machine has. */
typedef float lanes __attribute__((vector_size(64), aligned(4)));
enum { LANES = 16 };
_Static_assert(CPU_PANEL == 2 * (int)LANES && (int)PAGE == (int)LANES, "tiles below");

/* The same source for three register widths; none of them may contract a multiply and an add
 * (-ffp-contract=off). */
#define ALWAYS static inline __attribute__((always_inline))
#define WIDEST_OF(name, parameters, arguments)                                                     \
    __attribute__((target("avx512f"))) static void name##_64 parameters { name##_body arguments; } \
    __attribute__((target("avx2"))) static void name##_32 parameters { name##_body arguments; }    \
    static void name parameters {                                                                  \
        if (__builtin_cpu_supports("avx512f"))                                                     \
            name##_64 arguments;                                                                   \
        else if (__builtin_cpu_supports("avx2"))                                                   \
            name##_32 arguments;                                                                   \
        else                                                                                       \
            name##_body arguments;                                                                 \
    }

/* exp in double from nothing but multiply and add: libm's own depends on the machine's FMA.
 * Relative error before the rounding to float < 1e-10; 0 below -104, where float has run out. */
static float exp_exact(float x) {
    if (!(x > -104.0f))
        return x != x ? x : 0.0f;
    if (x > 89.0f)
        return INFINITY;
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number */
    double n = ((double)x * 1.4426950408889634 + shift) - shift;
    double r = ((double)x - n * 0.693147180559890330) - n * 5.49792301870837e-14;
    double e = 1.0 / 39916800;
    static const double inverse_factorial[] = {1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                                               1.0 / 720,     1.0 / 120,    1.0 / 24,    1.0 / 6,
                                               0.5,           1.0,          1.0};
    for (int i = 0; i < 11; i++)
        e = e * r + inverse_factorial[i];
    union {
        uint64_t bits;
        double value;
    } power = {.bits = (uint64_t)(int64_t)(n + 1023) << 52};
    return (float)(e * power.value);
}

/* --- matmul: panels are [k][CPU_PANEL] --- */

static size_t fp32_pack_bytes(int n, int k) {
    size_t panels = ((size_t)n + CPU_PANEL - 1) / CPU_PANEL;
    return panels * CPU_PANEL * (size_t)k * sizeof(float);
}

static void fp32_pack(const struct cpu_matrix *w, int n0, int n_rows, const float *rows) {
    CHECK(n0 % CPU_PANEL == 0 && n0 + n_rows <= w->n);
    int end = (n_rows + CPU_PANEL - 1) / CPU_PANEL * CPU_PANEL;
    for (int i = 0; i < end; i++) {
        float *out = (float *)w->data + (size_t)(n0 + i) / CPU_PANEL * CPU_PANEL * (size_t)w->k +
                     i % CPU_PANEL;
        for (int k = 0; k < w->k; k++)
            out[(size_t)k * CPU_PANEL] =
                i < n_rows ? rows[(size_t)i * (size_t)w->k + (size_t)k] : 0;
    }
}

static void fp32_convert(const float *x, size_t count, void *out) {
    memcpy(out, x, count * sizeof *x);
}

ALWAYS void store_row(const struct cpu_matrix *w, int panel, const lanes sum[2], float *y,
                      bool add) {
    float row[CPU_PANEL];
    memcpy(row, sum, sizeof row);
    int n = w->n - panel * CPU_PANEL;
    y += (size_t)panel * CPU_PANEL;
    for (int j = 0; j < n && j < CPU_PANEL; j++)
        y[j] = add ? y[j] + row[j] : (w->bias ? w->bias[panel * CPU_PANEL + j] : 0) + row[j];
}

/* `rows` rows at once only share the loads of the weights. */
ALWAYS void panel_times_rows(const struct cpu_matrix *w, int panel, const float *x, int rows,
                             float *y, size_t ldy, bool add) {
    const size_t n_k = (size_t)w->k;
    const float *weights = (const float *)w->data + (size_t)panel * CPU_PANEL * n_k;
    lanes sum[4][2] = {{{0}}};
    for (size_t k = 0; k < n_k; k++) {
        const lanes *v = (const lanes *)(weights + k * CPU_PANEL);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            sum[r][0] += x[(size_t)r * n_k + k] * v[0];
            sum[r][1] += x[(size_t)r * n_k + k] * v[1];
        }
    }
    for (int r = 0; r < rows; r++)
        store_row(w, panel, sum[r], y + (size_t)r * ldy, add);
}

ALWAYS void fp32_matmul_body(const struct cpu_matrix *w, const void *x, int m, int p0, int p1,
                             float *y, size_t ldy, bool add) {
    for (int p = p0; p < p1; p++) {
        int r = 0;
        for (; r + 4 <= m; r += 4)
            panel_times_rows(w, p, (const float *)x + (size_t)r * (size_t)w->k, 4,
                             y + (size_t)r * ldy, ldy, add);
        for (; r < m; r++)
            panel_times_rows(w, p, (const float *)x + (size_t)r * (size_t)w->k, 1,
                             y + (size_t)r * ldy, ldy, add);
    }
}
WIDEST_OF(fp32_matmul,
          (const struct cpu_matrix *w, const void *x, int m, int p0, int p1, float *y, size_t ldy,
           bool add),
          (w, x, m, p0, p1, y, ldy, add))

/* --- attention --- */

/* prob = scale * q k for every slot, dead ones too: nothing reads those. */
ALWAYS void score_pages(const struct cpu_attention *a, int g) {
    for (int p = 0; p < a->n_pages; p++) {
        const float *k = a->pages[p];
        lanes sum = {0};
        for (int d = 0; d < a->head_size; d++)
            sum += a->q[g * a->head_size + d] * *(const lanes *)(k + d * PAGE);
        sum *= a->scale;
        memcpy(a->prob + ((size_t)g * (size_t)a->n_pages + (size_t)p) * PAGE, &sum, sizeof sum);
    }
}

static void softmax_live(const struct cpu_attention *a, float *prob) {
    float max = -INFINITY, sum = 0;
    for (int i = 0; i < a->n_pages * PAGE; i++)
        if (a->live[i / PAGE] >> i % PAGE & 1 && !(prob[i] <= max))
            max = prob[i];
    for (int i = 0; i < a->n_pages * PAGE; i++) {
        prob[i] = a->live[i / PAGE] >> i % PAGE & 1 ? exp_exact(prob[i] - max) : 0;
        sum += prob[i];
    }
    for (int i = 0; i < a->n_pages * PAGE; i++)
        prob[i] /= sum;
}

ALWAYS void add_values(const struct cpu_attention *a, const float *prob, float *out) {
    memset(out, 0, (size_t)a->head_size * sizeof *out);
    for (int p = 0; p < a->n_pages; p++) {
        const float *values = (const float *)a->pages[p] + PAGE * a->head_size;
        for (int s = 0; s < PAGE; s++) {
            if (!(a->live[p] >> s & 1))
                continue;
            const float *v = values + s * a->head_size;
            int d = 0;
            for (; d + LANES <= a->head_size; d += LANES)
                *(lanes *)(out + d) += prob[p * PAGE + s] * *(const lanes *)(v + d);
            for (; d < a->head_size; d++)
                out[d] += prob[p * PAGE + s] * v[d];
        }
    }
}

ALWAYS void fp32_attend_body(const struct cpu_attention *a) {
    for (int g = 0; g < a->group; g++) {
        float *prob = a->prob + (size_t)g * (size_t)a->n_pages * PAGE;
        score_pages(a, g);
        softmax_live(a, prob);
        add_values(a, prob, a->out + g * a->head_size);
    }
}
WIDEST_OF(fp32_attend, (const struct cpu_attention *a), (a))

/* --- cache --- */

static void fp32_append(void *page, int s, int head_size, const float *k, const float *v,
                        void *bounds, bool first) {
    float *keys = page, *lo = bounds, *hi = lo + (bounds ? head_size : 0);
    for (int d = 0; d < head_size; d++)
        keys[d * PAGE + s] = k[d];
    memcpy(keys + (PAGE + s) * head_size, v, (size_t)head_size * sizeof *v);
    for (int d = 0; bounds && d < head_size; d++) {
        lo[d] = first || k[d] < lo[d] ? k[d] : lo[d];
        hi[d] = first || k[d] > hi[d] ? k[d] : hi[d];
    }
}

static void fp32_read(const void *page, int s, int head_size, float *k, float *v) {
    const float *keys = page;
    for (int d = 0; k && d < head_size; d++)
        k[d] = keys[d * PAGE + s];
    if (v)
        memcpy(v, keys + (PAGE + s) * head_size, (size_t)head_size * sizeof *v);
}

/* Products of floats are exact in double, and so is their order: one sum, rounded once at the end.
 */
static void fp32_bounds(const float *q, int group, int head_size, const void *const *bounds, int n,
                        float *bound) {
    for (int g = 0; g < group; g++)
        for (int i = 0; i < n; i++) {
            const float *lo = bounds[i], *hi = lo + head_size;
            double sum = 0;
            for (int d = 0; d < head_size; d++) {
                double x = q[g * head_size + d], a = x * (double)lo[d], b = x * (double)hi[d];
                sum += a > b ? a : b;
            }
            bound[g * n + i] = (float)sum;
        }
}

/* --- rows --- */

static void fp32_rmsnorm(const float *x, const float *gain, int dim, float eps, float *out) {
    double squares = 0;
    for (int i = 0; i < dim; i++)
        squares += (double)x[i] * (double)x[i];
    float factor = (float)(1 / sqrt(squares / dim + (double)eps));
    for (int i = 0; i < dim; i++)
        out[i] = gain[i] * (x[i] * factor);
}

static void fp32_swiglu(const float *gate, const float *up, int count, float *out) {
    for (int i = 0; i < count; i++)
        out[i] = gate[i] / (1 + exp_exact(-gate[i])) * up[i];
}

/* --- yardsticks --- */

enum { CHAINS = 10 };

ALWAYS void fp32_peak_body(int64_t rounds) {
    lanes sum[CHAINS] = {{0}}, x = {0};
    yardstick_hide(&x);
    yardstick_hide(sum); /* else equal chains would be computed once */
    for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 10
        for (int j = 0; j < CHAINS; j++)
            sum[j] += sum[j] * x;
    yardstick_hide(sum);
}
WIDEST_OF(fp32_peak, (int64_t rounds), (rounds))

ALWAYS void fp32_sweep_body(const void *data, size_t bytes) {
    const lanes *p = data;
    lanes sum[8] = {{0}};
    for (size_t i = 0; i + 8 <= bytes / sizeof *p; i += 8)
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++)
            sum[j] += p[i + j];
    yardstick_hide(sum);
}
WIDEST_OF(fp32_sweep, (const void *data, size_t bytes), (data, bytes))

const struct cpu_kernels cpu_kernels_fp32 = {
    .isa = "fp32",
    .cache_size = sizeof(float),
    .act_size = sizeof(float),
    .pack_bytes = fp32_pack_bytes,
    .pack = fp32_pack,
    .convert = fp32_convert,
    .matmul = fp32_matmul,
    .attend = fp32_attend,
    .append = fp32_append,
    .bounds = fp32_bounds,
    .read = fp32_read,
    .rmsnorm = fp32_rmsnorm,
    .swiglu = fp32_swiglu,
    .peak = fp32_peak,
    .round_flops = 2.0 * CHAINS * LANES,
    .sweep = fp32_sweep,
};
