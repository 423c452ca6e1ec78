/* After a layer of a prefill: what a plan leaves of each prompt goes from the workspace to the
 * row's own pages, oldest first. Twin of settle_head_task in cpu.c. Scores do not change while a
 * prompt is cut, so evicting one unit after the other is taking the worst of them at once. */
#include "engine/kernels/cuda_rules_evict.cuh"

/* A prompt that is settled, as one KV head sees it. */
struct settling {
    const cuda_prefill *f;
    rules_head h;           /* of the row's own pages; n_pages: that it will hold */
    const uint16_t *kv;     /* the prompt's pages in the workspace */
    const float *mass;      /* of its tokens, or NULL */
    likeness_scratch alike; /* of its tokens, where the plan compares keys */
    int32_t n, dropped;     /* tokens of the prompt; units that go */
};

/* Units over capacity: tokens or pages. */
static __device__ int32_t units_over(const cuda_row &r, const cuda_plan *plan, int32_t n) {
    int32_t over = plan->evict == UNIT_TOKEN  ? n - (r.capacity - plan->every)
                   : plan->evict == UNIT_PAGE ? pages_of(n) - r.capacity / PAGE
                                              : 0;
    return max(over, 0);
}

static __device__ void fill_settling(const cuda_prefill &f, const cuda_pass &p, int prompt,
                                     int layer, int kv, settling *s) {
    const cuda_prompt from = f.prompts[prompt];
    const cuda_row &r = p.rows[from.row];
    const size_t page = (size_t)kv * f.pages + from.first / PAGE;
    const cuda_plan *plan = f.plans + from.plan;
    const bool observed = plan->has_observe && plan->observe_prompt && plan->slot_columns;
    s->f = &f;
    s->n = from.n;
    s->dropped = units_over(r, plan, from.n);
    s->kv = f.kv + page * page_elements(f.shape.cache_head);
    s->mass = observed ? f.mass + page * PAGE : NULL;
    const size_t stride = (size_t)f.pages * PAGE;
    float *many = f.many + kv * CUDA_MANY * stride + from.first;
    s->alike = {many, many + stride, (int32_t *)many + 2 * stride, many + 3 * stride};
    rules_head &h = s->h;
    h.cache = p.cache, h.plan = plan;
    h.table = table_of(p.cache, p.shape, from.row, layer, kv);
    h.row = from.row, h.layer = layer, h.kv = kv;
    h.n_prompt = from.n, h.capacity = r.capacity, h.key = r.key;
    h.mean = mean_of(plan, f.shape);
    h.now = from.n - 1;
    h.n_live = from.n - s->dropped * (plan->evict == UNIT_PAGE ? PAGE : 1);
    h.n_pages = pages_of(h.n_live);
}

/* What observe makes of all queries of the prompt at once: the mass of all of them is one signal.
 * This is what it makes of them one after the other where its column is a sum of signals. */
static __device__ float prompt_column(const settling &s, int32_t position) {
    if (!s.mass)
        return 0;
    candidate c = {position, s.h.now, 0, s.mass[position]};
    c.weight = s.h.plan->weight;
    return policy_observe(s.h.plan->policy, c);
}

/* --- one page by one warp ------------------------------------------------------------------- */

/* Two neighbouring dims d of the key of a token, unrotated where keys are kept by rank. */
static __device__ uint32_t key_word(const settling &s, int32_t position, int d) {
    const int size = s.f->shape.head_size, half = size / 2;
    const uint16_t *page = s.kv + (size_t)(position / PAGE) * page_elements(s.f->shape.cache_head);
    const int slot = position % PAGE;
    if (s.h.plan->keys != KEYS_RANK)
        return *(const uint32_t *)(page + key_at(slot, d));
    float x[2] = {0, 0};
    for (int e = 0; e < 2 && d + e < size; e++) {
        const int low = (d + e) % half;
        const float *rope = s.f->rope + (size_t)position * size + low;
        const float a = bf16_float(page[key_at(slot, low)]), c = rope[0];
        const float b = bf16_float(page[key_at(slot, half + low)]), sine = -rope[half];
        x[e] = d + e < half ? a * c - b * sine : b * c + a * sine;
    }
    return float_bf16x2(x[0], x[1]);
}

static __device__ uint32_t value_of(const settling &s, int32_t position, int d) {
    const int head = s.f->shape.cache_head;
    const uint16_t *page = s.kv + (size_t)(position / PAGE) * page_elements(head);
    return page[value_at(head, position % PAGE, d)];
}

/* Gathers a lane's part of fragment number f, of keys or values. token: the position in slot
 * `lane` of the page, -1 for none. */
static __device__ uint4 gather_keys(const settling &s, int32_t token, int f) {
    const int lane = threadIdx.x % 32, d = f * 16 + lane % 4 * 2;
    const int32_t low = __shfl_sync(~0u, token, lane / 4);
    const int32_t high = __shfl_sync(~0u, token, lane / 4 + 8);
    return make_uint4(low < 0 ? 0 : key_word(s, low, d), high < 0 ? 0 : key_word(s, high, d),
                      low < 0 ? 0 : key_word(s, low, d + 8),
                      high < 0 ? 0 : key_word(s, high, d + 8));
}

static __device__ uint4 gather_values(const settling &s, int32_t token, int f) {
    const int lane = threadIdx.x % 32, d = f * 16 + lane / 4;
    uint32_t word[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4; i++) { /* slots 2j, 2j + 1, 2j + 8, 2j + 9 */
        const int32_t from = __shfl_sync(~0u, token, lane % 4 * 2 + i / 2 * 8 + i % 2);
        if (from < 0)
            continue;
        word[i / 2 * 2] |= value_of(s, from, d) << i % 2 * 16;
        word[i / 2 * 2 + 1] |= value_of(s, from, d + 8) << i % 2 * 16;
    }
    return make_uint4(word[0], word[1], word[2], word[3]);
}

/* Clears slots that hold nothing. */
static __device__ uint4 only_keys(uint4 x, uint32_t live) {
    const int slot = threadIdx.x % 32 / 4;
    const uint32_t low = live >> slot & 1 ? ~0u : 0, high = live >> (slot + 8) & 1 ? ~0u : 0;
    return make_uint4(x.x & low, x.y & high, x.z & low, x.w & high);
}
static __device__ uint4 only_values(uint4 x, uint32_t live) {
    uint32_t mask[2];
    for (int i = 0; i < 2; i++) {
        const uint32_t two = live >> (threadIdx.x % 4 * 2 + i * 8);
        mask[i] = (two & 1 ? 0xffff : 0) | (two & 2 ? 0xffff0000 : 0);
    }
    return make_uint4(x.x & mask[0], x.y & mask[0], x.z & mask[1], x.w & mask[1]);
}

/* Keys, values and bounds of page `index`, which are those of the prompt's page of that number. */
static __device__ void copy_page(const settling &s, int index, uint32_t live) {
    const cuda_cache &c = s.h.cache;
    const int lane = threadIdx.x % 32, fragments = c.head / 16;
    const int32_t page = s.h.table[index];
    const uint4 *from = (const uint4 *)s.kv + (size_t)index * (4 * c.head) + lane;
    uint4 *to = (uint4 *)c.kv + (size_t)page * (4 * c.head) + lane;
    uint16_t *bounds = s.h.plan->bounds ? c.bounds + (size_t)page * (2 * c.head) : NULL;
#pragma unroll 2
    for (int f = 0; f < fragments; f++) {
        const uint4 k = from[f * 32], v = from[(fragments + f) * 32];
        to[f * 32] = only_keys(k, live);
        to[(fragments + f) * 32] = only_values(v, live);
        if (bounds)
            store_bounds(k, live, bounds + f * 16, bounds + c.head + f * 16);
    }
}

/* The same from tokens anywhere in the prompt. */
static __device__ void gather_page(const settling &s, int index, uint32_t live, int32_t token) {
    const cuda_cache &c = s.h.cache;
    const int lane = threadIdx.x % 32, fragments = c.head / 16;
    const int32_t page = s.h.table[index];
    uint4 *to = (uint4 *)c.kv + (size_t)page * (4 * c.head) + lane;
    uint16_t *bounds = s.h.plan->bounds ? c.bounds + (size_t)page * (2 * c.head) : NULL;
#pragma unroll 1
    for (int f = 0; f < fragments; f++) {
        const uint4 k = gather_keys(s, token, f);
        to[f * 32] = k;
        to[(fragments + f) * 32] = gather_values(s, token, f);
        if (bounds)
            store_bounds(k, live, bounds + f * 16, bounds + c.head + f * 16);
    }
}

/* Page `index` of the row's own gets these tokens. whole: they are that page of the prompt. */
static __device__ void settle_page(const settling &s, int index, int32_t token, bool whole) {
    const cuda_cache &c = s.h.cache;
    const int lane = threadIdx.x % 32;
    const int32_t page = s.h.table[index];
    const uint32_t live = __ballot_sync(~0u, token >= 0);
    if (whole)
        copy_page(s, index, live);
    else
        gather_page(s, index, live, token);
    if (lane < PAGE) {
        c.position[page * PAGE + lane] = max(token, 0);
        if (s.h.plan->slot_columns)
            c.slot_column[page * PAGE + lane] = token < 0 ? 0 : prompt_column(s, token);
    }
    if (lane == 0) {
        c.live[page] = live;
        if (s.h.plan->page_column)
            c.page_column[page] = 0;
    }
}

/* --- cutting a head to capacity, by one block ------------------------------------------------ */

/* The largest of the columns around a token. */
static __device__ float pooled_column(const settling &s, int32_t position) {
    const int32_t half = s.h.plan->pool / 2, last = min(s.n, first_recent(s.h)) - 1;
    float most = prompt_column(s, position);
    for (int32_t i = max(position - half, 0); i <= min(position + half, last); i++)
        most = fmaxf(most, prompt_column(s, i));
    return most;
}

/* The more a token deserves to go, the larger; 0 if it must stay. Of a page: of its first token. */
static __device__ uint32_t drop_key(const settling &s, int32_t position) {
    const bool by_page = s.h.plan->evict == UNIT_PAGE;
    const int32_t last = position + (by_page ? PAGE - 1 : 0);
    const bool newest = by_page && position + PAGE >= s.n;
    if (position < first_loose(s.h) || last >= first_recent(s.h) || newest)
        return 0;
    const float column = by_page ? 0 : pooled_column(s, position);
    const float alike = s.h.plan->keep_by ? s.alike.likeness[position] : 0;
    return max(~order_key(rules_keep(s.h, position, column, alike)), 1u);
}

struct settle_shared {
    settling s[RULES_WARPS]; /* a block that cuts a head: the first */
    rules_shared rules;
    int32_t waiting[PAGE + RULES_THREADS]; /* tokens that stay, until they fill a page */
};

static __device__ void move_kept(settle_shared &x, rules_block &b, const rules_cut &cut,
                                 const uint32_t *keys) {
    const settling &s = x.s[0];
    const bool by_page = s.h.plan->evict == UNIT_PAGE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int waiting = 0, done = 0;
    for (int from = 0; from < s.n; from += RULES_THREADS) {
        const int position = from + (int)threadIdx.x, unit = by_page ? position / PAGE : position;
        bool kept = position < s.n;
        if (kept) {
            const int32_t start = by_page ? unit * PAGE : unit;
            const uint32_t key = keys ? keys[unit] : drop_key(s, start);
            kept = !(key && in_cut(cut, key, unit));
        }
        const int place = rules_sum_before(b, kept, &waiting);
        if (kept)
            x.waiting[place] = position;
        __syncthreads();
        const bool last = from + RULES_THREADS >= s.n;
        const int full = last ? pages_of(waiting) : waiting / PAGE;
        for (int i = warp; i < full && done + i < s.h.n_pages; i += RULES_WARPS) {
            const int at = i * PAGE + lane;
            settle_page(s, done + i, lane < PAGE && at < waiting ? x.waiting[at] : -1, false);
        }
        __syncthreads();
        const int left = waiting % PAGE, at = full * PAGE + (int)threadIdx.x;
        if (!last && full && (int)threadIdx.x < left)
            x.waiting[threadIdx.x] = x.waiting[at];
        done += full, waiting = left;
    }
}

/* keys: of all units, where shared memory holds them. */
static __device__ void cut_head(settle_shared &x, uint32_t *keys) {
    const settling &s = x.s[0];
    const bool by_page = s.h.plan->evict == UNIT_PAGE;
    const int n = by_page ? pages_of(s.n) : s.n;
    rules_block b = {&x.rules, 0};
    if (s.h.plan->keep_by)
        rules_likeness({s.kv, s.n, pages_of(s.n), s.f->shape.cache_head, NULL, NULL, NULL}, b,
                       s.alike);
    auto drop = [&s, by_page](int i) { return drop_key(s, by_page ? i * PAGE : i); };
    auto age = [](int i) { return i; };
    if (!keys) {
        move_kept(x, b, rules_best(b, n, s.dropped, drop, age), NULL);
        return;
    }
    for (int i = threadIdx.x; i < n; i += RULES_THREADS)
        keys[i] = drop(i);
    __syncthreads();
    const rules_cut cut = rules_best(
        b, n, s.dropped, [keys](int i) { return keys[i]; }, age);
    move_kept(x, b, cut, keys);
}

/* --- the kernel ----------------------------------------------------------------------------- */

static __device__ void tell_row(const cuda_pass &p, const settling &s) {
    cuda_row *r = p.rows + s.h.row;
    r->n_live = s.h.n_live, r->n_pages = s.h.n_pages, r->evictions = s.dropped;
}

/* A warp moves one page of a prompt that stays whole. */
static __device__ void settle_whole(const cuda_prefill &f, const cuda_pass &p, int page, int layer,
                                    settling *s) {
    const int lane = threadIdx.x % 32, prompt = f.block_prompt[page];
    if (lane == 0)
        fill_settling(f, p, prompt, layer, blockIdx.y, s);
    __syncwarp();
    const int index = page - f.prompts[prompt].first / PAGE, token = index * PAGE + lane;
    if (!s->dropped && index * PAGE < s->n)
        settle_page(*s, index, lane < PAGE && token < s->n ? token : -1,
                    s->h.plan->keys != KEYS_RANK);
}

/* The first blocks move pages; the others look after one prompt each and cut it where it has to be.
 */
static __global__ void __launch_bounds__(RULES_THREADS)
    k_settle(const __grid_constant__ cuda_prefill f, const __grid_constant__ cuda_pass p, int layer,
             int page_blocks, int room) {
    extern __shared__ uint32_t keys[]; /* [room] */
    __shared__ settle_shared shared;
    pdl_launch();
    pdl_wait();
    const int warp = threadIdx.x / 32, block = blockIdx.x, kv = blockIdx.y;
    if (block < page_blocks) {
        const int page = block * RULES_WARPS + warp;
        if (page < f.pages)
            settle_whole(f, p, page, layer, &shared.s[warp]);
        return;
    }
    if (threadIdx.x == 0) {
        fill_settling(f, p, block - page_blocks, layer, kv, &shared.s[0]);
        if (kv == 0 && layer + 1 == p.shape.n_layers)
            tell_row(p, shared.s[0]);
    }
    __syncthreads();
    if (shared.s[0].dropped)
        cut_head(shared, shared.s[0].n <= room ? keys : NULL);
}

void cuda_settle(const cuda_prefill *f, const cuda_pass *pass, int32_t layer, cudaStream_t stream) {
    const int blocks = (f->pages + RULES_WARPS - 1) / RULES_WARPS, most = 12288;
    const int room = f->pages * PAGE < most ? f->pages * PAGE : most;
    launch(k_settle, dim3(blocks + f->n_prompts, f->shape.n_kv_heads), dim3(RULES_THREADS),
           (size_t)room * sizeof(uint32_t), stream, *f, *pass, layer, blocks, room);
}
