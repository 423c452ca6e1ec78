/* The CUDA backend's passes: twin of cpu.c. A decode pass is one graph that reads nothing of the
 * host: positions, lengths, tables, random numbers and ends live on the device. The host enqueues
 * passes ahead of the one whose ids it hands out, and learns late who has ended. */
#include "engine/cuda.h"

#include <string.h>

#include "engine/advance.h"

bool cuda_check_at(cudaError_t code, const char *call, const char *file, int line, struct err *e) {
    if (code == cudaSuccess)
        return true;
    cudaGetLastError(); /* or the next call would find it again */
    return err_set(e, EXIT_ENV, "cuda: %s: %s (%.*s at %s:%d)", cudaGetErrorName(code),
                   cudaGetErrorString(code), (int)strcspn(call, "("), call, file, line);
}

int32_t cuda_bucket(const struct cuda *b, int32_t highest, int32_t *index) {
    static const int32_t narrow[] = {1, 4, 8, 16, 32, 64};
    for (int32_t i = 0; i < 6; i++)
        if (highest < narrow[i]) {
            *index = i;
            return narrow[i];
        }
    int32_t rows = CUDA_BLOCK_ROWS;
    for (*index = 6; rows <= highest; ++*index)
        rows *= 2;
    return rows < b->padded ? rows : b->padded;
}

/* --- products ------------------------------------------------------------------------------- */

struct cuda_product cuda_product_of(const struct cuda *b, const struct cuda_matrix *w,
                                    const struct cuda_acts *acts, enum cuda_epilogue epilogue,
                                    int32_t rows) {
    return (struct cuda_product){.w = *w,
                                 .acts = *acts,
                                 .epilogue = epilogue,
                                 .dim = cuda_config(b)->dim,
                                 .eps = cuda_config(b)->rms_eps,
                                 .rows = rows,
                                 .rms = rows > CUDA_NARROW ? b->rms : NULL,
                                 .part = b->part,
                                 .arrived = b->arrived};
}

/* The norm before a product: its gain is in the activations, its rms in the squares. */
static void normed(struct cuda_product *p, const struct cuda_stream_of_rows *r) {
    p->squares = r->squares;
    p->n_squares = (p->dim + 15) / 16;
    p->squares_stride = r->stride;
}

void cuda_qkv(const struct cuda *b, int32_t layer, const struct cuda_stream_of_rows *r, float *y) {
    const struct cuda_layer *w = &b->weights.layers[layer];
    struct cuda_product p = cuda_product_of(b, &w->qkv, &r->acts, CUDA_QKV, r->rows);
    normed(&p, r);
    p.bias = w->qkv_bias;
    p.y = y, p.ldy = w->qkv.n;
    cuda_product_run(&p, b->stream);
}

static void residual(const struct cuda *b, const struct cuda_matrix *w,
                     const struct cuda_acts *acts, const float *gain,
                     const struct cuda_stream_of_rows *r) {
    struct cuda_product p = cuda_product_of(b, w, acts, CUDA_RESIDUAL, r->rows);
    p.y = r->x, p.ldy = cuda_config(b)->dim;
    p.acts_out = r->acts;
    p.gain = gain;
    p.squares_out = r->squares;
    cuda_product_run(&p, b->stream);
}

void cuda_after_attention(const struct cuda *b, int32_t layer, const struct cuda_stream_of_rows *r,
                          const struct cuda_acts *acts_q, const struct cuda_acts *acts_ffn) {
    const struct cuda_layer *w = &b->weights.layers[layer];
    bool last = layer + 1 == cuda_config(b)->n_layers;
    residual(b, &w->o, acts_q, w->ffn_norm, r);
    cuda_mark(b, KERNEL_O);
    struct cuda_product p = cuda_product_of(b, &w->gate_up, &r->acts, CUDA_SWIGLU, r->rows);
    normed(&p, r);
    p.acts_out = *acts_ffn;
    cuda_product_run(&p, b->stream);
    cuda_mark(b, KERNEL_GATE_UP);
    residual(b, &w->down, acts_ffn, last ? b->weights.final_norm : w[1].attn_norm, r);
    cuda_mark(b, KERNEL_DOWN);
}

/* The residual stream of the batch's rows. */
static struct cuda_stream_of_rows batch_rows(const struct cuda *b, int32_t rows) {
    return (struct cuda_stream_of_rows){.acts = b->acts_dim,
                                        .x = b->pass.x,
                                        .squares = b->pass.squares,
                                        .rows = rows,
                                        .stride = b->padded};
}

void cuda_head(const struct cuda *b, int32_t rows) {
    struct cuda_stream_of_rows r = batch_rows(b, rows);
    struct cuda_product p = cuda_product_of(b, &b->weights.head, &b->acts_dim, CUDA_LOGITS, rows);
    normed(&p, &r);
    p.y = b->logits, p.ldy = cuda_config(b)->vocab;
    cuda_product_run(&p, b->stream);
}

void cuda_sample_rows(const struct cuda *b, const int32_t *row_of, int32_t n) {
    const struct config *c = cuda_config(b);
    struct cuda_sampling s = {.rows = b->pass.rows,
                              .row_of = row_of,
                              .n = n,
                              .width = b->width,
                              .vocab = c->vocab,
                              .ids_limit = advance_vocab(b->model),
                              .logits = b->logits,
                              .forced = b->forced,
                              .max_total = b->params.max_total,
                              .n_eos = c->n_eos,
                              .report = b->report,
                              .scratch = b->sampling};
    memcpy(s.eos, c->eos, sizeof s.eos);
    cuda_sample(&s, b->stream);
}

/* --- a decode pass -------------------------------------------------------------------------- */

void cuda_enqueue_pass(const struct cuda *b, int32_t rows, int flavour) {
    const struct config *c = cuda_config(b);
    struct cuda_pass p = b->pass;
    struct cuda_stream_of_rows r = batch_rows(b, rows);
    p.n_rows = rows;
    if (!(flavour & CUDA_LOOKS))
        p.chosen = NULL;
    if (!(flavour & CUDA_RANKS))
        p.rank = NULL;
    cuda_begin(&p, &b->weights.embedding, b->weights.layers[0].attn_norm, &b->acts_dim, b->stream);
    cuda_mark(b, KERNEL_BEGIN);
    for (int32_t l = 0; l < c->n_layers; l++) {
        cuda_qkv(b, l, &r, p.qkv);
        cuda_mark(b, KERNEL_QKV);
        cuda_prepare(&p, l, b->weights.layers[l].q_norm, b->weights.layers[l].k_norm, b->stream);
        cuda_mark(b, KERNEL_PREPARE);
        if (flavour & CUDA_LOOKS) {
            cuda_attend(&p, l, true, &b->acts_q, b->stream);
            cuda_select(&p, l, b->stream);
            cuda_mark(b, KERNEL_LOOK);
        }
        cuda_attend(&p, l, false, &b->acts_q, b->stream);
        cuda_mark(b, KERNEL_ATTEND);
        if (flavour & CUDA_MASS) {
            cuda_observe(&p, l, b->stream);
            cuda_mark(b, KERNEL_OBSERVE);
        }
        cuda_after_attention(b, l, &r, &b->acts_q, &b->acts_ffn);
    }
    cuda_head(b, rows);
    cuda_mark(b, KERNEL_HEAD);
    cuda_sample_rows(b, NULL, rows < b->width ? rows : b->width);
    cuda_mark(b, KERNEL_SAMPLE);
    cuda_publish(b->report, b->width, b->reports, b->width, b->published, b->stream);
}

static bool make_graph(struct cuda *b, int32_t rows, int flavour, cudaGraphExec_t *out,
                       struct err *e) {
    cudaGraph_t graph = NULL;
    if (!CUDA_CHECK(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeRelaxed), e))
        return false;
    cuda_enqueue_pass(b, rows, flavour);
    bool ok = CUDA_CHECK(cudaStreamEndCapture(b->stream, &graph), e) &&
              CUDA_CHECK(cudaGetLastError(), e) &&
              CUDA_CHECK(cudaGraphInstantiate(out, graph, 0), e);
    if (graph)
        cudaGraphDestroy(graph);
    return ok;
}

bool cuda_end_pass(struct cuda *b, int32_t n_rows, struct err *e) {
    struct cuda_flight *f = &b->flights[b->launched % CUDA_RING];
    *f = (struct cuda_flight){.done = f->done, .number = b->launched, .n_rows = n_rows};
    b->launched++;
    b->counters.passes++;
    return CUDA_CHECK(cudaGetLastError(), e) && CUDA_CHECK(cudaEventRecord(f->done, b->stream), e);
}

int32_t cuda_in_flight(const struct cuda *b, int *flavour, bool *logits) {
    int32_t highest = -1;
    *flavour = 0, *logits = false;
    for (int32_t row = 0; row < b->width; row++)
        if (b->members[row].taken && !b->members[row].ended && !b->members[row].ids) {
            highest = row;
            *flavour |= b->members[row].flavour;
            *logits |= b->members[row].sequence->on_logits != NULL;
        }
    return highest;
}

static bool launch_pass(struct cuda *b, int32_t highest, int flavour, struct err *e) {
    int32_t bucket, rows = cuda_bucket(b, highest, &bucket);
    cudaGraphExec_t *graph = &b->graphs[bucket][flavour];
    if (!*graph && !make_graph(b, rows, flavour, graph, e))
        return false;
    b->counters.launches++;
    return CUDA_CHECK(cudaGraphLaunch(*graph, b->stream), e) &&
           cuda_end_pass(b, rows < b->width ? rows : b->width, e);
}

/* --- outcomes ------------------------------------------------------------------------------- */

bool cuda_host_logits(struct cuda *b, struct err *e) {
    size_t bytes = (size_t)b->padded * (size_t)cuda_config(b)->vocab * sizeof(float);
    return b->host_logits ||
           CUDA_CHECK(cudaHostAlloc((void **)&b->host_logits, bytes, cudaHostAllocDefault), e);
}

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
            if (!launch_pass(b, highest, flavour, e))
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
