/* The next id of every row in flight, and whether the row ends there: sampler_pick and advance of
 * the host, on the device. Several blocks read a row of logits; the one that arrives last decides.
 */
#include <cfloat>

#include "engine/kernels/cuda_common.cuh"
#include "engine/kernels/cuda_draw.cuh"
#include "engine/session.h"

enum {
    SAMPLE_FEW = 4096,   /* logits of a row up to which a small block does */
    SAMPLE_IDS = 1024,   /* logits of a block at least */
    SAMPLE_PARTS = 2048, /* blocks, where there are not more rows */
    SAMPLE_THREADS = 512,
    SAMPLE_UNROLL = 8,
};

/* A candidate as an integer that orders like (logit, lower id first). 0: there is none. */
static __device__ __forceinline__ uint64_t candidate_of(float logit, int32_t id) {
    uint32_t bits = __float_as_uint(logit + 0.0f); /* -0 is as large as 0 */
    bits ^= bits >> 31 ? 0xffffffff : 0x80000000;
    return (uint64_t)bits << 32 | (0xffffffff - (uint32_t)id);
}
#define NOT_FINITE 0xffffffffffffffffu /* above every candidate */

static __device__ __forceinline__ float logit_of(uint64_t candidate) {
    uint32_t bits = (uint32_t)(candidate >> 32);
    return __uint_as_float(bits ^ (bits >> 31 ? 0x80000000 : 0xffffffff));
}
static __device__ __forceinline__ int32_t id_of(uint64_t candidate) {
    return (int32_t)(0xffffffff - (uint32_t)candidate);
}

static __device__ uint64_t largest_of_block(draw_shared *shared, uint64_t x) {
    int lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int round = 0; round < 2; round++) {
        for (int i = 16; i; i /= 2) {
            uint64_t other = __shfl_xor_sync(~0u, x, i);
            x = other > x ? other : x;
        }
        if (round)
            return x;
        __syncthreads();
        if (lane == 0)
            shared->warp[threadIdx.x / 32] = x;
        __syncthreads();
        x = lane < warps ? shared->warp[lane] : 0;
    }
    return x;
}

/* The best of logits [from, to) that may be taken, or NOT_FINITE. */
static __device__ uint64_t best_of(const draw &d, int from, int to) {
    float best = -CUDART_INF_F;
    int32_t id = -1;
    bool finite = true;
    for (int base = from + (int)threadIdx.x; base < to; base += (int)blockDim.x * SAMPLE_UNROLL) {
        float logit[SAMPLE_UNROLL];
#pragma unroll
        for (int k = 0; k < SAMPLE_UNROLL; k++) {
            int at = base + k * (int)blockDim.x;
            logit[k] = at < to ? __ldcg(d.logits + at) : 0;
        }
#pragma unroll
        for (int k = 0; k < SAMPLE_UNROLL; k++) {
            int at = base + k * (int)blockDim.x;
            finite = finite && fabsf(logit[k]) <= FLT_MAX;
            if (logit[k] > best && at < to && at < d.n && !is_among(d.banned, d.n_banned, at))
                best = logit[k], id = at;
        }
    }
    return !finite ? NOT_FINITE : id < 0 ? 0 : candidate_of(best, id);
}

/* True in the block that arrives last at a row; *best is then that of all its blocks. */
static __device__ bool arrive(draw_shared *shared, uint64_t *candidates, int32_t *arrived,
                              int parts, int part, uint64_t *best) {
    if (threadIdx.x == 0) {
        __stcg(candidates + part, *best);
        __threadfence();
        shared->n_listed = atomicAdd(arrived, 1);
    }
    __syncthreads();
    if (shared->n_listed != parts - 1)
        return false;
    __threadfence();
    uint64_t x = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) {
        uint64_t other = __ldcg(candidates + i);
        x = other > x ? other : x;
    }
    *best = largest_of_block(shared, x);
    if (threadIdx.x == 0)
        *arrived = 0;
    return true;
}

/* advance() of the host. id: -1 where a logit was not finite. */
static __device__ void end_step(const cuda_sampling &s, int row, int32_t id) {
    cuda_row *r = s.rows + row;
    int32_t finish = FINISH_NOT, n_new = r->n_new + 1;
    if (r->forced && r->n_fed < r->n_forced) {
        id = s.forced[(size_t)row * s.max_total + r->n_fed];
        r->n_fed++;
    } else if (r->forced) {
        finish = FINISH_CAP;
    } else if (id < 0) {
        finish = FINISH_NUMERIC;
    } else if (is_among(s.eos, s.n_eos, id)) {
        finish = FINISH_ANSWER;
    } else if (n_new >= r->max_new) {
        finish = FINISH_CAP;
    }
    r->next = id;
    r->n_new = n_new;
    r->active = finish == FINISH_NOT;
    s.report[row] = {id, finish, r->n_live, r->n_pages, r->evictions};
}

/* Rows that row_of does not name were not in flight. */
static __device__ void report_absent(const cuda_sampling &s, draw_shared *shared) {
    uint32_t *named = shared->weight;
    for (int from = 0; from < s.width; from += DRAW_LIST * 32) {
        for (int i = threadIdx.x; i < DRAW_LIST; i += blockDim.x)
            named[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < s.n; i += blockDim.x) {
            int at = (s.row_of ? s.row_of[i] : i) - from;
            if (at >= 0 && at < DRAW_LIST * 32)
                atomicOr(&named[at / 32], 1u << at % 32);
        }
        __syncthreads();
        for (int i = threadIdx.x; i < DRAW_LIST * 32 && from + i < s.width; i += blockDim.x)
            if (!(named[i / 32] >> i % 32 & 1))
                s.report[from + i] = {CUDA_ABSENT, 0, 0, 0, 0};
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(SAMPLE_THREADS)
    k_sample(const __grid_constant__ cuda_sampling s, int parts, uint64_t *candidates,
             int32_t *arrived) {
    __shared__ draw_shared shared;
    pdl_launch();
    pdl_wait();
    int i = blockIdx.x / parts, part = blockIdx.x % parts;
    if (i == s.n) {
        report_absent(s, &shared);
        return;
    }
    int row = s.row_of ? s.row_of[i] : i;
    const cuda_row *r = s.rows + row;
    if (!r->active) {
        if (part == 0 && threadIdx.x == 0)
            s.report[row] = {CUDA_ABSENT, 0, 0, 0, 0};
        return;
    }
    /* all that end_step changes is read before the next barrier */
    bool ban = r->ignore_eos || r->n_new + 1 <= r->min_new;
    bool draws = r->temperature > 0 && !(r->forced && r->n_fed < r->n_forced);
    draw d = {s.logits + (size_t)i * s.vocab, s.ids_limit, s.eos, ban ? s.n_eos : 0};
    int each = (s.vocab + parts - 1) / parts, from = part * each;
    uint64_t best = best_of(d, from, from + each < s.vocab ? from + each : s.vocab);
    best = largest_of_block(&shared, best);
    if (parts > 1 &&
        !arrive(&shared, candidates + (size_t)i * parts, arrived + i, parts, part, &best))
        return;
    int32_t id = best == NOT_FINITE ? -1 : best ? id_of(best) : 0;
    if (draws && best && id >= 0) {
        d.best = logit_of(best), d.temperature = r->temperature;
        uint64_t key = rng_key(rng_key(r->key, 0x73616d706c65u), (uint64_t)r->position);
        id = draw_id(d, &shared, r->top_p, key);
    }
    if (threadIdx.x == 0)
        end_step(s, row, id);
}

static size_t n_candidates(int32_t width) { return width > SAMPLE_PARTS ? width : SAMPLE_PARTS; }

size_t cuda_sample_bytes(int32_t width) {
    return n_candidates(width) * sizeof(uint64_t) + (size_t)width * sizeof(int32_t);
}

void cuda_sample(const struct cuda_sampling *s, cudaStream_t stream) {
    int most = s->n > 0 ? SAMPLE_PARTS / s->n : 1, parts = (s->vocab + SAMPLE_IDS - 1) / SAMPLE_IDS;
    parts = parts < most ? parts : most;
    parts = parts > 1 ? parts : 1;
    uint64_t *candidates = (uint64_t *)s->scratch;
    int32_t *arrived = (int32_t *)(candidates + n_candidates(s->width));
    launch(k_sample, dim3(s->n * parts + 1), dim3(s->vocab <= SAMPLE_FEW ? 128 : SAMPLE_THREADS), 0,
           stream, *s, parts, candidates, arrived);
}
