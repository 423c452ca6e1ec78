/* How a product of many rows is shared among blocks, and what a warp does with the sums that it
 * holds: for the kernels of cuda_many.cu and cuda_wide.cu. */
#pragma once

#include "engine/kernels/cuda_epilogue.cuh"
#include "engine/kernels/cuda_ring.cuh"

enum { TILE = 8, PIECE = 4 * 256 }; /* fragments' rows of a tile; elements of a row's chunk */

/* The shares of a product. Cutting pays where many blocks would have nothing to do, and k is long.
 * What is cut comes first: when the whole items are done, nobody waits for a segment. */
struct shares {
    int blocks, items, row_blocks, whole, cut; /* whole: of every block; cut: items */
};
CUDA_FN shares share_out(int n, int segment, int row_blocks, int blocks) {
    shares s = {blocks, (n + 127) / 128 * row_blocks, row_blocks, 0, 0};
    s.whole = s.items / blocks;
    s.cut = s.items % blocks;
    if (segment * CUDA_SEGMENTS < 1024 || 2 * s.cut > blocks)
        s.cut = 0, s.whole = (s.items + blocks - 1) / blocks;
    const int units = s.whole ? s.items : s.cut * CUDA_SEGMENTS;
    s.blocks = units < blocks ? units : blocks;
    return s;
}

/* What one block does, one segment after the other: step i of `steps`. */
struct walk {
    shares s;
    int block, from, cut, steps; /* its first segment among those of the cut items; how many */
};
struct place {
    int tile, row_block, segment;
    int cut; /* index among the cut items, -1 for a whole one */
};
static __device__ __forceinline__ walk walk_of(const shares &s, int block) {
    walk w = {s, block, block * s.cut * CUDA_SEGMENTS / s.blocks, 0, 0};
    w.cut = (block + 1) * s.cut * CUDA_SEGMENTS / s.blocks - w.from;
    w.steps = w.cut;
    for (int i = 0; i < s.whole; i++)
        w.steps += i * s.blocks + block < s.items - s.cut ? CUDA_SEGMENTS : 0;
    return w;
}
static __device__ __forceinline__ place place_of(const walk &w, int i) {
    int item = (i - w.cut) / CUDA_SEGMENTS * w.s.blocks + w.block;
    place p = {0, 0, (i - w.cut) % CUDA_SEGMENTS, -1};
    if (i < w.cut) {
        p.cut = (w.from + i) / CUDA_SEGMENTS;
        p.segment = (w.from + i) % CUDA_SEGMENTS;
        item = w.s.items - w.s.cut + p.cut;
    }
    p.tile = item / w.s.row_blocks, p.row_block = item % w.s.row_blocks;
    return p;
}

/* A chunk after the other, over all segments of a walk; divisions only where a segment begins. */
struct cursor {
    const walk &w;
    int chunks, step, chunk;
    place at;
    __device__ cursor(const walk &all, int n) : w(all), chunks(n), step(0), chunk(0) {
        at = place_of(w, 0);
    }
    __device__ void next() {
        if (++chunk < chunks)
            return;
        chunk = 0;
        if (++step < w.steps)
            at = place_of(w, step);
    }
};

/* The copying warp: stages of a tile's weights and a row block's activations, in any struct with
 * full, empty, weights and acts. Weights of the first stages do not wait for the kernel before. */
template <int ROWS, int STAGES, typename SHARED> struct copier {
    const cuda_product &p;
    SHARED &s;
    const walk &w;
    int lane;

    __device__ void weights(const cursor &k, int stage) const {
        const int bytes = TILE * chunk_fragments(p.w.segment, k.chunk) * 512;
        const size_t part = (size_t)k.at.tile * CUDA_SEGMENTS + k.at.segment;
        const size_t at = part * (p.w.segment / 16 * TILE) + 4 * TILE * k.chunk;
        copy_expect(&s.full[stage], bytes + ROWS * 128, lane);
        if (PIECE_STEP == 1 || lane == 0)
            copy_piece(s.weights[stage], p.w.data + at * 256, bytes, &s.full[stage],
                       w.s.row_blocks == 1);
    }
    __device__ void acts(const cursor &k, int stage) const {
        const size_t chunk = (size_t)k.at.segment * p.acts.chunks + k.chunk;
        const size_t row = chunk * p.acts.rows + (size_t)k.at.row_block * ROWS;
        if (PIECE_STEP == 1 || lane == 0)
            copy_piece(s.acts[stage], p.acts.data + row * 64, ROWS * 128, &s.full[stage], false);
        copy_done(&s.full[stage]);
    }
    __device__ void run() const {
        const int n = w.steps * p.acts.chunks, first = min(STAGES, n);
        cursor a(w, p.acts.chunks), b(w, p.acts.chunks);
        for (int i = 0; i < first; i++, a.next())
            weights(a, i);
        pdl_wait();
        for (int i = 0; i < first; i++, b.next())
            acts(b, i);
        ring_place at = {0, 0};
        for (int i = first; i < n; i++, a.next(), ring_next<STAGES>(&at)) {
            barrier_wait(&s.empty[at.stage], at.round);
            weights(a, at.stage);
            acts(a, at.stage);
        }
    }
};

/* What one warp holds of an item: FR rows of fragments, NT tiles of 8 rows of the batch. */
template <int FR, int NT> struct sums {
    enum { BATCH = NT < 4 ? NT : 4 };       /* tiles whose residuals are loaded together */
    float total[FR][NT][4], sum[FR][NT][4]; /* of the item, of a segment */
    int warp, warps, lane;                  /* warps that share an item */
    int fragment, column;                   /* its first, in the tile and in the row block */

    __device__ void add() {
#pragma unroll
        for (int i = 0; i < FR; i++)
#pragma unroll
            for (int t = 0; t < NT; t++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    total[i][t][j] += sum[i][t][j];
    }

    /* Sums of a segment of a cut item lie in p.part as the registers do: tile e = i * NT + t. */
    __device__ float4 *part(const cuda_product &p, int cut, int segment, int e) const {
        const size_t at = (size_t)(cut * CUDA_SEGMENTS + segment) * warps + warp;
        return (float4 *)p.part + (at * FR * NT + e) * 32 + lane;
    }
    /* Says how many segments of this warp's part of a cut item are stored, then finished. */
    __device__ int32_t *arrived(const cuda_product &p, int cut) const {
        return p.arrived + cut * warps + warp;
    }
    __device__ void store_part(const cuda_product &p, const place &at) const {
#pragma unroll
        for (int i = 0; i < FR; i++)
#pragma unroll
            for (int t = 0; t < NT; t++)
                *part(p, at.cut, at.segment, i * NT + t) =
                    make_float4(sum[i][t][0], sum[i][t][1], sum[i][t][2], sum[i][t][3]);
        __syncwarp();
        if (lane == 0) {
            __threadfence();
            atomicAdd(arrived(p, at.cut), 1);
        }
    }
    /* Until all segments are stored: every block of the product is on the device, so they come. */
    __device__ void wait_parts(const cuda_product &p, int cut) const {
        if (lane == 0) {
            int32_t n;
            do
                asm volatile("ld.acquire.gpu.global.s32 %0, [%1];"
                             : "=r"(n)
                             : "l"(arrived(p, cut)));
            while (n < CUDA_SEGMENTS);
        }
        __syncwarp();
    }
    __device__ void leave_parts(const cuda_product &p, int cut) const {
        __syncwarp();
        if (lane == 0 && atomicAdd(arrived(p, cut), 1) + 1 == 2 * CUDA_SEGMENTS)
            *arrived(p, cut) = 0;
    }

    /* Values v of tile t of fragment f; x: the residual before. */
    struct outputs {
        output low, high;
    };
    __device__ outputs outputs_of(const cuda_product &p, int f) const {
        const outputs o = {output_of(p, f, lane / 4), output_of(p, f, lane / 4 + 8)};
        return o;
    }
    __device__ int row_of(int t, int j) const { return column + t * 8 + lane % 4 * 2 + j; }
    __device__ void load_tile(const cuda_product &p, const outputs &o, int first, int t,
                              float x[4]) const {
#pragma unroll
        for (int j = 0; j < 2; j++) {
            x[j] = load_residual(p, o.low, first + row_of(t, j));
            x[j + 2] = load_residual(p, o.high, first + row_of(t, j));
        }
    }
    __device__ void finish_residual(const cuda_product &p, const outputs &o, int f, int row,
                                    const float v[4], const float x[4]) const {
        float low[2], high[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            low[j] = add_residual(p, o.low, row + j, x[j], v[j]);
            high[j] = add_residual(p, o.high, row + j, x[j + 2], v[j + 2]);
            float square = square_of(low[j]) + square_of(high[j]);
            for (int k = 16; k >= 4; k /= 2)
                square += __shfl_xor_sync(~0u, square, k);
            if (lane / 4 == 0)
                p.squares_out[(size_t)f * p.acts_out.rows + row + j] = square;
            low[j] *= o.low.factor, high[j] *= o.high.factor;
        }
        store_words(p, o.low, row, low);
        store_words(p, o.high, row, high);
    }
    /* rms, x: of this tile. */
    __device__ void finish_tile(const cuda_product &p, const outputs &o, int f, int first, int t,
                                const float rms[2], const float v[4], const float x[4]) const {
        const int row = first + row_of(t, 0);
        if (p.epilogue == CUDA_RESIDUAL)
            return finish_residual(p, o, f, row, v, x);
        if (p.epilogue == CUDA_SWIGLU) {
            const float y[2] = {swiglu(v[0], v[2], rms[0]), swiglu(v[1], v[3], rms[1])};
            return store_words(p, o.low, row, y);
        }
#pragma unroll
        for (int j = 0; j < 2; j++) {
            store_normed(p, o.low, row + j, v[j], rms[j]);
            store_normed(p, o.high, row + j, v[j + 2], rms[j]);
        }
    }
    /* What is read beside the sums: before anything is stored, so that reads go out together. */
    __device__ void load_beside(const cuda_product &p, const outputs &o, int first, int t,
                                const float *rms, float factor[2], float x[4]) const {
        if (p.epilogue == CUDA_RESIDUAL)
            return load_tile(p, o, first, t, x);
        factor[0] = rms[row_of(t, 0)], factor[1] = rms[row_of(t, 1)];
    }
    /* A whole item, from total. rms: of the row block's rows. */
    __device__ void finish(const cuda_product &p, const place &at, const float *rms, int rows) {
        const int first = at.row_block * rows;
#pragma unroll
        for (int i = 0; i < FR; i++) {
            const int f = at.tile * TILE + fragment + i;
            if (f >= (p.w.n + 15) / 16)
                break;
            const outputs o = outputs_of(p, f);
#pragma unroll
            for (int t = 0; t < NT; t += BATCH) {
                float x[BATCH][4] = {}, factor[BATCH][2] = {};
#pragma unroll
                for (int k = 0; k < BATCH; k++)
                    load_beside(p, o, first, t + k, rms, factor[k], x[k]);
#pragma unroll
                for (int k = 0; k < BATCH; k++)
                    finish_tile(p, o, f, first, t + k, factor[k], total[i][t + k], x[k]);
            }
        }
    }
    /* Of a cut item the share of one segment: every eighth tile, from the parts of all segments. */
    __device__ void finish_share(const cuda_product &p, const place &at, const float *rms,
                                 int rows) {
        const int first = at.row_block * rows;
        wait_parts(p, at.cut);
        for (int e = at.segment; e < FR * NT; e += CUDA_SEGMENTS) {
            const int f = at.tile * TILE + fragment + e / NT, t = e % NT;
            if (f >= (p.w.n + 15) / 16)
                break;
            const outputs o = outputs_of(p, f);
            float4 y[CUDA_SEGMENTS];
            float x[4] = {}, v[4] = {}, factor[2] = {};
#pragma unroll
            for (int k = 0; k < CUDA_SEGMENTS; k++)
                y[k] = __ldcg(part(p, at.cut, k, e));
            load_beside(p, o, first, t, rms, factor, x);
#pragma unroll
            for (int k = 0; k < CUDA_SEGMENTS; k++)
                v[0] += y[k].x, v[1] += y[k].y, v[2] += y[k].z, v[3] += y[k].w;
            finish_tile(p, o, f, first, t, factor, v, x);
        }
        leave_parts(p, at.cut);
    }

    /* After the last chunk of a step: true when a whole item is complete in total. */
    __device__ bool end_segment(const cuda_product &p, const place &here) {
        if (here.cut >= 0) {
            store_part(p, here);
            return false;
        }
        add();
        return here.segment + 1 == CUDA_SEGMENTS;
    }
};

/* Of every cut item of the walk. */
template <int ROWS, typename X, typename R>
static __device__ __forceinline__ void finish_shares(const cuda_product &p, const walk &w, X &x,
                                                     R rms_of) {
    for (int i = 0; i < w.cut; i++) {
        const place here = place_of(w, i);
        x.finish_share(p, here, rms_of(here), ROWS);
    }
}
/* What a computing warp does: chunk after chunk of its walk. multiply(stage, n) adds a chunk of n
 * fragments along k to x.sum; rms_of(item) is that of its rows. */
template <int ROWS, int STAGES, typename SHARED, typename X, typename M, typename R>
static __device__ __forceinline__ void compute_walk(const cuda_product &p, SHARED &s, const walk &w,
                                                    X &x, M multiply, R rms_of) {
    ring_place at = {0, 0};
    bool shares_left = true; /* until a whole item is done: by then nobody has to wait */
    memset(x.total, 0, sizeof x.total);
    for (int i = 0; i < w.steps; i++) {
        const place here = place_of(w, i);
        memset(x.sum, 0, sizeof x.sum);
        for (int c = 0; c < p.acts.chunks; c++, ring_next<STAGES>(&at)) {
            barrier_wait(&s.full[at.stage], at.round);
            multiply(at.stage, chunk_fragments(p.w.segment, c));
            __syncwarp();
            if (x.lane == 0)
                barrier_arrive(&s.empty[at.stage]);
        }
        if (!x.end_segment(p, here))
            continue;
        x.finish(p, here, rms_of(here), ROWS);
        memset(x.total, 0, sizeof x.total);
        if (shares_left)
            finish_shares<ROWS>(p, w, x, rms_of), shares_left = false;
    }
    if (shares_left)
        finish_shares<ROWS>(p, w, x, rms_of);
}
