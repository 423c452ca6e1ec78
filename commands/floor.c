#include "commands/floor.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "commands/bench.h"

enum { SAMPLES = 5, SWEEP_UNIT = 512 };
static const double window_seconds = 2e-3;

/* Candidates: inputs and outputs of usual layers, rows of a full batch. */
static const struct shape {
    int n, k, m;
} shapes[] = {{1024, 256, 48}, {1024, 256, 64}, {1536, 512, 48}, {512, 1024, 48}, {768, 256, 32}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct floor {
    const struct cpu_kernels *kernels;
    struct pool *threads;
    struct shape shape;
    struct cpu_matrix w;
    void *x;
    float *y;
    char *buffer;
    size_t room, bytes; /* of the buffer, of this sweep */
};

/* Seconds of one loop over all threads: the mean of a window that holds several, after one that
 * warms up. */
static double seconds_of(struct floor *f, int n_tasks, pool_body *body) {
    pool_run(f->threads, n_tasks, body, f);
    double start = clock_seconds(), seconds = 0;
    int loops = 0;
    for (; seconds < window_seconds; seconds = clock_seconds() - start, loops++)
        pool_run(f->threads, n_tasks, body, f);
    return seconds / loops;
}

static double median_of(struct floor *f, double (*rate)(struct floor *)) {
    double samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = rate(f);
    return bench_quantile(samples, SAMPLES, 0.5);
}

static void panel_task(void *context, int panel, int thread) {
    struct floor *f = context;
    (void)thread;
    f->kernels->matmul(&f->w, f->x, f->shape.m, panel, panel + 1, f->y, (size_t)f->shape.n, false);
}

double floor_matmul(struct floor *f) {
    double flops = 2.0 * f->shape.n * f->shape.k * f->shape.m;
    return flops / seconds_of(f, f->shape.n / CPU_PANEL, panel_task);
}

enum { PEAK_ROUNDS = 20000 };

static void peak_task(void *context, int task, int thread) {
    (void)task, (void)thread;
    ((struct floor *)context)->kernels->peak(PEAK_ROUNDS);
}

static double peak_now(struct floor *f) {
    int n = pool_threads(f->threads);
    return n * PEAK_ROUNDS * f->kernels->round_flops / seconds_of(f, n, peak_task);
}

double floor_peak(struct floor *f) { return median_of(f, peak_now); }

static void sweep_task(void *context, int task, int thread) {
    struct floor *f = context;
    (void)thread;
    size_t n = (size_t)pool_threads(f->threads), units = f->bytes / SWEEP_UNIT;
    size_t from = units * (size_t)task / n, to = units * (size_t)(task + 1) / n;
    f->kernels->sweep(f->buffer + from * SWEEP_UNIT, (to - from) * SWEEP_UNIT);
}

double floor_read(struct floor *f, size_t bytes) {
    f->bytes = (bytes + SWEEP_UNIT - 1) / SWEEP_UNIT * SWEEP_UNIT;
    if (f->bytes > f->room) {
        free(f->buffer);
        f->buffer = must_aligned(f->bytes);
        memset(f->buffer, 1,
               f->bytes); /* pages of its own: untouched memory is one page of zeros */
        f->room = f->bytes;
    }
    return (double)f->bytes / seconds_of(f, pool_threads(f->threads), sweep_task);
}

static void take_shape(struct floor *f, struct shape shape) {
    const struct cpu_kernels *kernels = f->kernels;
    size_t weights = (size_t)shape.n * (size_t)shape.k, inputs = (size_t)shape.m * (size_t)shape.k;
    float *values = must_alloc((weights > inputs ? weights : inputs) * sizeof *values);
    for (size_t i = 0; i < weights || i < inputs; i++)
        values[i] = (float)(i % 7) - 3;
    free(f->w.data), free(f->x), free(f->y);
    f->shape = shape;
    f->w = (struct cpu_matrix){.n = shape.n, .k = shape.k};
    f->w.data = must_aligned(kernels->pack_bytes(shape.n, shape.k));
    kernels->pack(&f->w, 0, shape.n, values);
    f->x = must_aligned(inputs * kernels->act_size);
    kernels->convert(values, inputs, f->x);
    f->y = must_alloc((size_t)shape.m * (size_t)shape.n * sizeof *f->y);
    free(values);
}

struct floor *floor_open(const struct cpu_kernels *kernels, int n_threads) {
    struct floor *f = must_zalloc(1, sizeof *f);
    f->kernels = kernels;
    f->threads = pool_open(n_threads);
    int best = 0;
    double most = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        take_shape(f, shapes[i]);
        double rate = median_of(f, floor_matmul);
        if (rate > most)
            most = rate, best = i;
    }
    take_shape(f, shapes[best]);
    return f;
}

void floor_close(struct floor *f) {
    if (!f)
        return;
    pool_close(f->threads);
    free(f->w.data), free(f->x), free(f->y), free(f->buffer);
    free(f);
}
