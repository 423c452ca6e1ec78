/* What a pass enqueues: the products of a layer on the session's buffers, and a decode pass. That
 * is one graph that reads nothing of the host: positions, lengths, tables, random numbers and ends
 * live on the device. */
#include <string.h>

#include "engine/advance.h"
#include "engine/cuda_parts.h"

void cuda_mark(const struct cuda *b, enum cuda_kernel kernel) {
    struct cuda_marks *m = b->marks;
    if (!m)
        return;
    CHECK(m->n < m->room);
    m->kernels[m->n] = kernel;
    cudaEventRecord(m->events[m->n++], b->stream);
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

enum layer_product { QKV, O, GATE_UP, DOWN };

/* Light ones begin beside the product before them. Of gate and up, then down, the second must begin
 * after the first has begun to end: early reads (cuda_pass.early) rest on this pair alone. */
enum { LIGHT = 1 << QKV | 1 << O };
_Static_assert(!(LIGHT & (1 << GATE_UP | 1 << DOWN)),
               "early reads need two products that aren't light");

/* One product with the buffers of the session; inputs and outputs are the caller's. */
static struct cuda_product product_of(const struct cuda *b, const struct cuda_matrix *w,
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
static void normed(struct cuda_product *p, const struct cuda_residual *r) {
    p->squares = r->squares;
    p->n_squares = square_tiles(p->dim);
    p->squares_stride = r->stride;
}

void cuda_qkv(const struct cuda *b, int32_t layer, const struct cuda_residual *r, float *y) {
    const struct cuda_layer *w = &b->weights.layers[layer];
    struct cuda_product p = product_of(b, &w->qkv, &r->acts, CUDA_QKV, r->rows);
    normed(&p, r);
    p.bias = w->qkv_bias;
    p.light = (LIGHT >> QKV) & 1;
    p.y = y, p.ldy = w->qkv.n;
    cuda_product_run(&p, b->stream);
}

static void residual(const struct cuda *b, const struct cuda_matrix *w,
                     const struct cuda_acts *acts, const float *gain, const struct cuda_residual *r,
                     enum layer_product which) {
    struct cuda_product p = product_of(b, w, acts, CUDA_RESIDUAL, r->rows);
    p.light = (LIGHT >> which) & 1;
    p.y = r->x, p.ldy = cuda_config(b)->dim;
    p.acts_out = r->acts;
    p.gain = gain;
    p.squares_out = r->squares;
    cuda_product_run(&p, b->stream);
}

void cuda_after_attention(const struct cuda *b, int32_t layer, const struct cuda_residual *r,
                          const struct cuda_acts *acts_q, const struct cuda_acts *acts_ffn) {
    const struct cuda_layer *w = &b->weights.layers[layer];
    bool last = layer + 1 == cuda_config(b)->n_layers;
    residual(b, &w->o, acts_q, w->ffn_norm, r, O);
    cuda_mark(b, KERNEL_O);
    struct cuda_product p = product_of(b, &w->gate_up, &r->acts, CUDA_SWIGLU, r->rows);
    normed(&p, r);
    p.light = (LIGHT >> GATE_UP) & 1;
    p.acts_out = *acts_ffn;
    cuda_product_run(&p, b->stream);
    cuda_mark(b, KERNEL_GATE_UP);
    residual(b, &w->down, acts_ffn, last ? b->weights.final_norm : w[1].attn_norm, r, DOWN);
    cuda_mark(b, KERNEL_DOWN);
}

/* The residual stream of the batch's rows. */
static struct cuda_residual batch_rows(const struct cuda *b, int32_t rows) {
    return (struct cuda_residual){.acts = b->acts_dim,
                                  .x = b->pass.x,
                                  .squares = b->pass.squares,
                                  .rows = rows,
                                  .stride = b->padded};
}

void cuda_head(const struct cuda *b, int32_t rows) {
    struct cuda_residual r = batch_rows(b, rows);
    struct cuda_product p = product_of(b, &b->weights.head, &b->acts_dim, CUDA_LOGITS, rows);
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

/* From q, k, v of a layer to its outputs. */
static void attend(const struct cuda *b, const struct cuda_pass *p, int32_t l, int flavour) {
    const struct cuda_layer *w = &b->weights.layers[l];
    if (!(flavour & CUDA_PREPARES)) {
        cuda_attend_row(p, l, w->q_norm, w->k_norm, &b->acts_q, b->stream);
        return;
    }
    cuda_prepare(p, l, w->q_norm, w->k_norm, b->stream);
    cuda_mark(b, KERNEL_PREPARE);
    if (flavour & CUDA_LOOKS) {
        cuda_attend(p, l, true, &b->acts_q, b->stream);
        cuda_select(p, l, b->stream);
        cuda_mark(b, KERNEL_LOOK);
    }
    cuda_attend(p, l, false, &b->acts_q, b->stream);
}

void cuda_enqueue_pass(const struct cuda *b, int32_t rows, int flavour) {
    const struct config *c = cuda_config(b);
    struct cuda_pass p = b->pass;
    struct cuda_residual r = batch_rows(b, rows);
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
        attend(b, &p, l, flavour);
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
    if (highest > 0 || b->pass.wide)
        *flavour |= CUDA_PREPARES;
    return highest;
}

bool cuda_launch_pass(struct cuda *b, int32_t highest, int flavour, struct err *e) {
    int32_t bucket, rows = cuda_bucket(b, highest, &bucket);
    cudaGraphExec_t *graph = &b->graphs[bucket][flavour];
    if (!*graph && !make_graph(b, rows, flavour, graph, e))
        return false;
    b->counters.launches++;
    return CUDA_CHECK(cudaGraphLaunch(*graph, b->stream), e) &&
           cuda_end_pass(b, rows < b->width ? rows : b->width, e);
}
