/* How long each kernel of a decode pass takes, alone: passes are enqueued kernel by kernel with an
 * event behind each, so that none begins early. */
#include <stdlib.h>
#include <string.h>

#include "engine/cuda_parts.h"

enum { PASSES = 12, WARM = 4 };

static const char *const names[KERNELS] = {
    "begin", "qkv",     "prepare", "look+select", "attend", "observe",
    "o",     "gate+up", "down",    "head",        "sample",
};

/* Bytes that one launch must read of weights or of the cache; 0: next to none. */
static double bytes_of(const struct cuda *b, enum cuda_kernel kernel, int32_t highest) {
    const struct config *c = cuda_config(b);
    double q = (double)c->n_heads * c->head_size, kv = (double)c->n_kv_heads * c->head_size;
    double tokens = 0;
    switch (kernel) {
    case KERNEL_QKV:
        return 2 * (q + 2 * kv) * c->dim;
    case KERNEL_O:
        return 2 * q * c->dim;
    case KERNEL_GATE_UP:
        return 4 * (double)c->ffn * c->dim;
    case KERNEL_DOWN:
        return 2 * (double)c->ffn * c->dim;
    case KERNEL_HEAD:
        return 2 * (double)c->vocab * c->dim;
    case KERNEL_ATTEND:
        for (int32_t row = 0; row <= highest; row++) {
            const struct cuda_member *m = &b->members[row];
            const struct sequence *s = m->taken ? m->sequence : NULL;
            int32_t live = s ? m->position + 1 : 0;
            int32_t most = s && s->plan->select ? plan_effective_budget(s->plan, s->n_prompt)
                           : s                  ? s->capacity
                                                : 0;
            tokens += live < most ? live : most;
        }
        return tokens * 4 * kv;
    default:
        return 0;
    }
}

static void add_times(const struct cuda_marks *m, double *seconds, int *count) {
    for (int i = 1; i < m->n; i++) {
        float ms = 0;
        cudaEventElapsedTime(&ms, m->events[i - 1], m->events[i]);
        seconds[m->kernels[i]] += 1e-3 * (double)ms;
        count[m->kernels[i]]++;
    }
}

static bool marks_open(struct cuda_marks *m, int room) {
    *m = (struct cuda_marks){.room = room};
    m->events = must_zalloc((size_t)room, sizeof *m->events);
    m->kernels = must_zalloc((size_t)room, sizeof *m->kernels);
    for (int i = 0; i < room; i++)
        if (cudaEventCreate(&m->events[i]) != cudaSuccess)
            return false;
    return true;
}

static void marks_close(struct cuda_marks *m) {
    for (int i = 0; i < m->room; i++)
        if (m->events[i])
            cudaEventDestroy(m->events[i]);
    free(m->events);
    free(m->kernels);
}

int cuda_time_kernels(void *backend, struct kernel_time *out, int room) {
    struct cuda *b = backend;
    double seconds[KERNELS] = {0};
    int count[KERNELS] = {0}, flavour, n = 0;
    bool logits;
    int32_t bucket, highest = cuda_in_flight(b, &flavour, &logits);
    struct cuda_marks marks;
    if (highest < 0)
        return 0;
    int32_t rows = cuda_bucket(b, highest, &bucket);
    bool ok = marks_open(&marks, 16 + KERNELS * cuda_config(b)->n_layers);
    b->marks = &marks;
    for (int pass = 0; ok && pass < PASSES; pass++) {
        marks.n = 0;
        cuda_mark(b, KERNELS);
        cuda_enqueue_pass(b, rows, flavour);
        ok = cudaStreamSynchronize(b->stream) == cudaSuccess;
        if (pass >= WARM)
            add_times(&marks, seconds, count);
    }
    b->marks = NULL;
    marks_close(&marks);
    for (int k = 0; ok && k < KERNELS && n < room; k++)
        if (count[k])
            out[n++] = (struct kernel_time){.name = names[k],
                                            .seconds = seconds[k] / count[k],
                                            .bytes = bytes_of(b, (enum cuda_kernel)k, highest),
                                            .per_pass = count[k] / (PASSES - WARM)};
    return n;
}
