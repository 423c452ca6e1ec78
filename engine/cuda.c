/* The CUDA backend: twin of cpu.c. The host enqueues passes ahead of the one whose ids it hands
 * out, and learns late who has ended. */
#include "engine/cuda_parts.h"

/* --- outcomes ------------------------------------------------------------------------------- */

/* Logits of the pass that has just ended (nothing runs ahead then) to those who asked. */
static bool tell_logits(struct cuda *b, const struct cuda_flight *f,
                        const struct cuda_report *reports, struct err *e) {
    size_t vocab = (size_t)cuda_config(b)->vocab;
    if (!cuda_host_logits(b, e))
        return false;
    for (int32_t row = 0; row < f->n_rows; row++) {
        struct cuda_member *m = &b->members[row];
        if (!m->taken || m->ended || f->number <= m->first_pass || !m->sequence->on_logits ||
            reports[row].id == CUDA_ABSENT)
            continue;
        float *at = b->host_logits + (size_t)row * vocab;
        if (!CUDA_CHECK(cudaMemcpyAsync(at, b->logits + (size_t)row * vocab, vocab * sizeof *at,
                                        cudaMemcpyDeviceToHost, b->stream),
                        e) ||
            !CUDA_CHECK(cudaStreamSynchronize(b->stream), e))
            return false;
        m->sequence->on_logits(m->sequence->user, m->position + 1, at);
    }
    return true;
}

static void outcome_of(struct cuda *b, int32_t row, const struct cuda_report *r,
                       struct outcome *out) {
    struct cuda_member *m = &b->members[row];
    const struct config *c = cuda_config(b);
    uint64_t heads = (uint64_t)c->n_layers * (uint64_t)c->n_kv_heads;
    uint64_t bytes = (uint64_t)r->n_pages * heads * m->page_cost;
    b->used += bytes - m->bytes;
    m->bytes = bytes;
    m->position++;
    m->ended = r->finish != FINISH_NOT;
    b->n_active -= m->ended;
    *out = (struct outcome){.row = row,
                            .id = r->id,
                            .finish = (enum finish)r->finish,
                            .kept = r->n_live,
                            .kv_bytes = bytes,
                            .evictions = (uint64_t)r->evictions * heads};
}

/* The oldest pass in flight; it may have nothing to say. */
static int collect(struct cuda *b, bool logits, struct outcome *out, struct err *e) {
    struct cuda_flight *f = &b->flights[b->collected % CUDA_RING];
    const struct cuda_report *reports = b->reports + (b->collected % CUDA_RING) * (size_t)b->width;
    int n = 0;
    if (!CUDA_CHECK(cudaEventSynchronize(f->done), e) || (logits && !tell_logits(b, f, reports, e)))
        return -1;
    b->collected++;
    for (int32_t row = 0; row < f->n_rows; row++) {
        const struct cuda_member *m = &b->members[row];
        if (m->taken && !m->ended && f->number >= m->first_pass && reports[row].id != CUDA_ABSENT)
            outcome_of(b, row, &reports[row], &out[n++]);
    }
    if (b->used > b->peak)
        b->peak = b->used;
    return n;
}

static int cuda_step(void *backend, struct outcome *out, struct err *e) {
    struct cuda *b = backend;
    for (;;) {
        int flavour;
        bool logits;
        if (!cuda_feed_prompts(b, e))
            return -1;
        int32_t highest = cuda_in_flight(b, &flavour, &logits);
        uint64_t ahead = b->lockstep || logits ? 1 : 1 + CUDA_AHEAD;
        while (highest >= 0 && b->launched - b->collected < ahead)
            if (!cuda_launch_pass(b, highest, flavour, e))
                return -1;
        if (b->launched == b->collected)
            return 0;
        b->counters.host_syncs += highest >= 0 && b->launched - b->collected == 1;
        int n = collect(b, logits, out, e);
        if (n)
            return n;
    }
}

static int cuda_positions(const void *backend, int row, int layer, int kv_head, int32_t *out,
                          int room) {
    const struct cuda *b = backend;
    const struct cuda_cache *cache = &b->pass.cache;
    struct cuda_row r;
    int n = 0;
    cudaStreamSynchronize(b->stream);
    cudaMemcpy(&r, b->pass.rows + row, sizeof r, cudaMemcpyDeviceToHost);
    const int32_t *table = table_of(*cache, b->pass.shape, row, layer, kv_head);
    for (int32_t i = 0; i < r.n_pages; i++) {
        int32_t page, position[PAGE];
        uint32_t live;
        cudaMemcpy(&page, table + i, sizeof page, cudaMemcpyDeviceToHost);
        cudaMemcpy(&live, cache->live + page, sizeof live, cudaMemcpyDeviceToHost);
        cudaMemcpy(position, cache->position + (size_t)page * PAGE, sizeof position,
                   cudaMemcpyDeviceToHost);
        for (int s = 0; s < PAGE; s++)
            if (live >> s & 1 && n++ < room)
                out[n - 1] = position[s];
    }
    return n;
}

static int64_t cuda_worst_pages(const void *backend, int32_t tokens) {
    const struct config *c = cuda_config(backend);
    return (int64_t)c->n_layers * c->n_kv_heads * pages_of(tokens);
}
static int64_t cuda_total_pages(const void *backend) {
    return ((const struct cuda *)backend)->n_pages;
}
static const char *cuda_isa(const void *backend) { return ((const struct cuda *)backend)->isa; }

static struct session_memory cuda_memory(const void *backend) {
    const struct cuda *b = backend;
    return (struct session_memory){.pool_bytes = b->used,
                                   .pool_peak = b->peak,
                                   .workspace_bytes = b->arena_bytes - b->pool_bytes,
                                   .weight_bytes = b->weights.bytes};
}

static bool cuda_pretend(void *backend, int row, int32_t tokens, struct err *e) {
    struct cuda *b = backend;
    cuda_pretend_row(&b->pass, row, tokens, (uint64_t)row + 1, b->stream);
    b->members[row].position = tokens - 1;
    return CUDA_CHECK(cudaGetLastError(), e);
}

static struct session_counters cuda_counters(const void *backend) {
    return ((const struct cuda *)backend)->counters;
}

const struct backend cuda_backend = {
    .name = "cuda",
    .max_width = SESSION_WIDTH,
    .open = cuda_open,
    .close = cuda_close,
    .join = cuda_join_row,
    .step = cuda_step,
    .leave = cuda_leave,
    .positions = cuda_positions,
    .worst_pages = cuda_worst_pages,
    .total_pages = cuda_total_pages,
    .memory = cuda_memory,
    .isa = cuda_isa,
    .pretend = cuda_pretend,
    .counters = cuda_counters,
    .time_kernels = cuda_time_kernels,
};
