/* How a product of many rows is shared among blocks, and what a warp does with the sums that it
 * holds: for the kernels of cuda_many.cu and cuda_wide.cu. */
#pragma once

#include "engine/kernels/cuda_epilogue.cuh"
#include "engine/kernels/cuda_ring.cuh"

enum { TILE = 8, PIECE = 4 * 256 }; /* fragments' rows of a tile; elements of a row's chunk */

/* The shares of a product. Cutting pays where many blocks would have nothing to do, and k is long.
 * What is cut comes first, so that the last sums are added while whole items are copied. */
struct shares {
    int blocks, items, row_blocks, whole, cut; /* whole: of every block; cut: items */
};
CUDA_FN shares share_out(int n, int segment, int row_blocks, int blocks) {
    shares s = {blocks, (n + 127) / 128 * row_blocks, row_blocks, 0, 0};
    s.whole = s.items / blocks;
    s.cut = s.items % blocks;
    if (segment * CUDA_SEGMENTS < 1024 || 2 * s.cut > blocks)
        s.cut = 0, s.whole = (s.items + blocks - 1) / blocks;
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

/* Fragments that a chunk has along k: 4, fewer at a segment's end. */
static __device__ __forceinline__ int fragments_of(const cuda_product &p, int c) {
    return min(4, p.w.segment / 16 - 4 * c);
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
        const int bytes = TILE * fragments_of(p, k.chunk) * 512;
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

    /* Sums of a segment of a cut item lie in p.part as the registers do. */
    __device__ float4 *part(const cuda_product &p, int cut, int segment, int i, int t) const {
        const size_t at = (size_t)(cut * CUDA_SEGMENTS + segment) * warps + warp;
        return (float4 *)p.part + ((at * FR + i) * NT + t) * 32 + lane;
    }
    __device__ void store_part(const cuda_product &p, const place &at) const {
#pragma unroll
        for (int i = 0; i < FR; i++)
#pragma unroll
            for (int t = 0; t < NT; t++)
                *part(p, at.cut, at.segment, i, t) =
                    make_float4(sum[i][t][0], sum[i][t][1], sum[i][t][2], sum[i][t][3]);
    }
    __device__ void add_parts(const cuda_product &p, int cut) {
#pragma unroll
        for (int i = 0; i < FR; i++)
#pragma unroll
            for (int t = 0; t < NT; t++) {
                for (int half = 0; half < CUDA_SEGMENTS; half += 4) {
                    float4 x[4];
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        x[j] = __ldcg(part(p, cut, half + j, i, t));
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        total[i][t][0] += x[j].x, total[i][t][1] += x[j].y;
                        total[i][t][2] += x[j].z, total[i][t][3] += x[j].w;
                    }
                }
            }
    }
    /* Whether this warp, having stored `stored` segments of its part of a cut item, is the last:
     * the same warp of all blocks holds the same elements. */
    __device__ bool is_last(const cuda_product &p, int cut, int stored) const {
        int last = 0;
        __syncwarp();
        if (lane == 0) {
            int32_t *arrived = p.arrived + cut * warps + warp;
            __threadfence();
            last = atomicAdd(arrived, stored) + stored == CUDA_SEGMENTS;
            if (last)
                *arrived = 0;
            __threadfence();
        }
        return __shfl_sync(~0u, last, 0);
    }

    /* rms: of the row block's rows. */
    __device__ void finish(const cuda_product &p, const place &at, const float *rms, int rows) {
#pragma unroll
        for (int i = 0; i < FR; i++) {
            const int f = at.tile * TILE + fragment + i, g = lane / 4;
            if (f >= (p.w.n + 15) / 16)
                break;
#pragma unroll
            for (int t = 0; t < NT; t++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const int in_block = column + t * 8 + lane % 4 * 2 + j;
                    const int row = at.row_block * rows + in_block;
                    const float low = total[i][t][j], high = total[i][t][j + 2];
                    if (p.epilogue == CUDA_RESIDUAL)
                        finish_residual(p, f, g, row, low, high);
                    else if (p.epilogue == CUDA_SWIGLU)
                        store_swiglu(p, row, f, g, low, high, rms[in_block]);
                    else {
                        store_normed(p, row, f * 16 + g, low, rms[in_block]);
                        store_normed(p, row, f * 16 + g + 8, high, rms[in_block]);
                    }
                }
        }
    }
    __device__ void finish_residual(const cuda_product &p, int f, int g, int row, float low,
                                    float high) {
        const int r = f * 16 + g;
        const float x = load_residual(p, row, r), y = load_residual(p, row, r + 8);
        float square = store_residual(p, row, r, x, low) + store_residual(p, row, r + 8, y, high);
        for (int k = 16; k >= 4; k /= 2)
            square += __shfl_xor_sync(~0u, square, k);
        if (g == 0)
            p.squares_out[(size_t)f * p.acts_out.rows + row] = square;
    }

    /* After the last chunk of step i of a walk, `here`: true when an item is complete in total. */
    __device__ bool end_segment(const cuda_product &p, const walk &w, int i, const place &here) {
        const bool ends = i + 1 == w.cut || here.segment + 1 == CUDA_SEGMENTS;
        if (here.cut < 0) {
            add();
            return ends;
        }
        store_part(p, here);
        /* segments of this cut item that the block took before: those since its own first step */
        if (!ends || !is_last(p, here.cut, 1 + min(here.segment, i)))
            return false;
        add_parts(p, here.cut);
        return true;
    }
};
