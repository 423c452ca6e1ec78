/* What follows from softmax mass, once attention has left scores behind: token selection, and
 * observe of plans that look at mass. Twin of select_tokens and observe in rules.c. */
#include "engine/kernels/cuda_rules.cuh"

/* Scores of a head's group as attention left them, and what its softmax needs. */
struct mass_view {
    float *score; /* [group][stride] */
    size_t stride;
    int group;
    float most[CUDA_GROUP], factor[CUDA_GROUP];
};

/* Fills *m in shared memory; ends in a barrier. */
static __device__ void mass_view_of(const cuda_pass &p, const rules_head &h, mass_view *m) {
    const size_t head = (size_t)h.row * p.shape.n_kv_heads + h.kv;
    const int g = threadIdx.x;
    if (g < p.shape.group) {
        const float *softmax = p.softmax + (head * CUDA_GROUP + g) * 2;
        m->most[g] = __ldcg(softmax), m->factor[g] = 1 / __ldcg(softmax + 1);
    }
    if (g == 0) {
        m->stride = (size_t)p.cache.room * PAGE;
        m->group = p.shape.group;
        m->score = p.score + head * m->group * m->stride;
    }
    __syncthreads();
}

/* Softmax probability of slot i % 16 of the page at place i / 16, summed over the group. */
static __device__ float token_mass(const mass_view &m, int i) {
    float sum = 0;
    for (int g = 0; g < m.group; g++)
        sum += expf(__ldcg(m.score + g * m.stride + i) - m.most[g]) * m.factor[g];
    return sum;
}

/* Masses of all slots of n pages take the place of the first head's scores; -1 where nothing was
 * attended. Ends in a barrier. */
static __device__ const float *token_masses(const rules_head &h, const mass_view &m,
                                            const int32_t *pages, const uint32_t *chosen, int n) {
    for (int i = threadIdx.x; i < n * PAGE; i += RULES_THREADS) {
        uint32_t live = h.cache.live[pages[i / PAGE]] & (chosen ? chosen[i / PAGE] : ~0u);
        m.score[i] = live >> i % PAGE & 1 ? token_mass(m, i) : -1;
    }
    __syncthreads();
    return m.score;
}

/* --- select --------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(RULES_THREADS)
    k_select(const __grid_constant__ cuda_pass p, int layer) {
    __shared__ rules_shared shared;
    __shared__ rules_head h;
    __shared__ mass_view m;
    pdl_launch();
    pdl_wait();
    const int row = blockIdx.x / p.shape.n_kv_heads, kv = blockIdx.x % p.shape.n_kv_heads;
    if (!p.rows[row].active)
        return;
    rules_head_of(p, row, layer, kv, &h);
    uint32_t *chosen = p.chosen + (size_t)blockIdx.x * p.cache.room;
    if (!selects_tokens(h)) {
        for (int i = threadIdx.x; i < h.n_pages; i += RULES_THREADS)
            chosen[i] = h.cache.live[h.table[i]];
        return;
    }
    rules_block b = {&shared, 0};
    mass_view_of(p, h, &m);
    rules_select_tokens(h, b, token_masses(h, m, h.table, NULL, h.n_pages), h.budget, chosen);
}

void cuda_select(const cuda_pass *p, int32_t layer, cudaStream_t stream) {
    launch(k_select, dim3(p->n_rows * p->shape.n_kv_heads), dim3(RULES_THREADS), 0, stream, *p,
           layer);
}

/* --- observe -------------------------------------------------------------------------------- */

/* Where in the table a page of the view lies. */
static __device__ int index_of(const rules_head &h, int32_t page) {
    int i = 0;
    while (i < h.n_pages - 1 && h.table[i] != page)
        i++;
    return i;
}

/* Mass of pages from their tokens, half a warp each; 0 of pages outside of the view. */
static __device__ void page_masses(const rules_head &h, const mass_view &m, const int32_t *pages,
                                   const uint32_t *chosen, int n, float *signal) {
    const bool by_max = h.plan->observe == SIGNAL_MASS_MAX;
    for (int i = threadIdx.x; i < h.n_pages; i += RULES_THREADS)
        signal[i] = 0;
    const float *mass = token_masses(h, m, pages, chosen, n);
    for (int from = 0; from < n * PAGE; from += RULES_THREADS) {
        const int i = from + (int)threadIdx.x;
        float x = i < n * PAGE ? fmaxf(mass[i], 0) : 0;
        for (int step = PAGE / 2; step; step /= 2) {
            float other = __shfl_xor_sync(~0u, x, step);
            x = by_max ? fmaxf(x, other) : x + other;
        }
        if (i < n * PAGE && i % PAGE == 0)
            signal[pages == h.table ? i / PAGE : index_of(h, pages[i / PAGE])] = x;
    }
    __syncthreads();
}

static __global__ void __launch_bounds__(RULES_THREADS)
    k_observe(const __grid_constant__ cuda_pass p, int layer) {
    extern __shared__ float signal[]; /* [room] */
    __shared__ rules_shared shared;
    __shared__ rules_head h;
    __shared__ mass_view m;
    pdl_launch();
    pdl_wait();
    const int row = blockIdx.x / p.shape.n_kv_heads, kv = blockIdx.x % p.shape.n_kv_heads;
    if (!p.rows[row].active)
        return;
    const cuda_plan *plan = p.plans + p.rows[row].plan;
    int32_t first;
    if (!row_observes(p.rows + row, plan, &first) || !signal_is_mass(plan->observe) ||
        plan->evict == UNIT_NONE)
        return;
    rules_head_of(p, row, layer, kv, &h);
    rules_block b = {&shared, 0};
    mass_view_of(p, h, &m);
    const size_t place = (size_t)blockIdx.x * p.cache.room;
    const bool by_page = selects_pages(h);
    const int32_t *pages = by_page ? p.view + place : h.table;
    const uint32_t *chosen = selects_tokens(h) ? p.chosen + place : NULL;
    const int n = by_page ? h.budget / PAGE : h.n_pages;
    if (plan->evict == UNIT_PAGE) {
        page_masses(h, m, pages, chosen, n, signal);
        rules_observe_pages(h, b, signal);
    } else {
        rules_observe_tokens(h, b, token_masses(h, m, pages, chosen, n), pages, n);
    }
}

void cuda_observe(const cuda_pass *p, int32_t layer, cudaStream_t stream) {
    launch(k_observe, dim3(p->n_rows * p->shape.n_kv_heads), dim3(RULES_THREADS),
           (size_t)p->cache.room * sizeof(float), stream, *p, layer);
}
