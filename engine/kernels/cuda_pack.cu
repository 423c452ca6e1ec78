/* Weights into fragments, random weights, and the sweep that measures how fast memory is read. */
#include <cuda_fp16.h>

#include "base/rng.h"
#include "engine/kernels/cuda_common.cuh"

/* A block packs a row of TILE / 16 fragments. The lines of the tile in shared memory are PADDED
 * long, so that the eight rows a warp reads at once lie in different banks. */
enum { THREADS = 256, TILE = 256, PADDED = TILE + 8, SWEEP_THREADS = 512, SWEEP_LOADS = 8 };

/* --- packing -------------------------------------------------------------------------------- */

/* Rows of a tensor and where they go. */
struct packing {
    uint16_t *data;
    const void *rows;
    int segment, at, interleave, type, n0, n, k;
    int first; /* fragment row of the first block */
};

/* Which of the rows at hand goes to row r of a fragment row; -1: none does. */
static __device__ __forceinline__ int row_for(const packing &p, int fragment_row, int r) {
    int i = fragment_row * 16 + r - p.at;
    if (p.interleave) {
        const bool mine = r / 8 == p.interleave - 1;
        i = mine ? (fragment_row - p.at / 16) * 8 + r % 8 : -1;
    }
    return i >= p.n0 && i < p.n0 + p.n ? i - p.n0 : -1;
}

static __device__ __forceinline__ uint16_t half_bf16(uint16_t h) {
    return float_bf16(__half2float(__ushort_as_half(h)));
}

/* Element i of the source as bf16. */
static __device__ __forceinline__ uint16_t load_one(const packing &p, size_t i) {
    if (p.type == 0)
        return float_bf16(((const float *)p.rows)[i]);
    const uint16_t x = ((const uint16_t *)p.rows)[i];
    return p.type == 1 ? half_bf16(x) : x;
}

static __device__ __forceinline__ uint32_t halves_bf16x2(uint32_t x) {
    return (uint32_t)half_bf16((uint16_t)x) | (uint32_t)half_bf16((uint16_t)(x >> 16)) << 16;
}

/* Elements i .. i + 7, i a multiple of 8. */
static __device__ __forceinline__ uint4 load_eight(const packing &p, size_t i) {
    if (p.type == 0) {
        const float4 *at = (const float4 *)((const float *)p.rows + i);
        const float4 a = at[0], b = at[1];
        return make_uint4(float_bf16x2(a.x, a.y), float_bf16x2(a.z, a.w), float_bf16x2(b.x, b.y),
                          float_bf16x2(b.z, b.w));
    }
    const uint4 x = *(const uint4 *)((const uint16_t *)p.rows + i);
    if (p.type == 2)
        return x;
    return make_uint4(halves_bf16x2(x.x), halves_bf16x2(x.y), halves_bf16x2(x.z),
                      halves_bf16x2(x.w));
}

/* Eight columns from c on of row `row`; zeros beyond k and for rows that are not at hand. */
static __device__ __forceinline__ uint4 load_columns(const packing &p, int row, int c) {
    if (row < 0)
        return make_uint4(0, 0, 0, 0);
    const size_t from = (size_t)row * p.k;
    if (p.k % 8 == 0 && c < p.k)
        return load_eight(p, from + c);
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int at = c + 2 * i;
        const uint32_t low = at < p.k ? load_one(p, from + at) : 0;
        const uint32_t high = at + 1 < p.k ? load_one(p, from + at + 1) : 0;
        x[i] = low | high << 16;
    }
    return make_uint4(x[0], x[1], x[2], x[3]);
}

static __global__ void __launch_bounds__(THREADS) k_pack(const packing p) {
    __shared__ __align__(16) uint16_t tile[16][PADDED];
    pdl_launch();
    pdl_wait();
    const int fragment_row = p.first + blockIdx.x, column = blockIdx.y * TILE;
    for (int i = threadIdx.x; i < 16 * TILE / 8; i += THREADS) {
        const int r = i / (TILE / 8), c = i % (TILE / 8) * 8;
        *(uint4 *)&tile[r][c] = load_columns(p, row_for(p, fragment_row, r), column + c);
    }
    __syncthreads();
    const int lane = threadIdx.x % 32, r = lane / 4, c = lane % 4 * 2;
    const bool low = row_for(p, fragment_row, r) >= 0, high = row_for(p, fragment_row, r + 8) >= 0;
    const int all = CUDA_SEGMENTS * (p.segment / 16); /* fragments of a fragment row */
    for (int f = threadIdx.x / 32; f < TILE / 16; f += THREADS / 32) {
        const int fragment = column / 16 + f;
        if (fragment >= all)
            return;
        const uint32_t a = *(const uint32_t *)&tile[r][f * 16 + c];
        const uint32_t b = *(const uint32_t *)&tile[r + 8][f * 16 + c];
        const uint32_t d = *(const uint32_t *)&tile[r][f * 16 + c + 8];
        const uint32_t e = *(const uint32_t *)&tile[r + 8][f * 16 + c + 8];
        uint32_t *to =
            (uint32_t *)(p.data + matrix_fragment(p.segment, fragment_row, fragment)) + lane * 4;
        if (low && high)
            *(uint4 *)to = make_uint4(a, b, d, e);
        else if (low)
            to[0] = a, to[2] = d;
        else if (high)
            to[1] = b, to[3] = e;
    }
}

void cuda_pack(uint16_t *data, int32_t segment, int32_t at, int32_t interleave, const void *rows,
               int32_t type, int32_t n0, int32_t n, int32_t k, cudaStream_t stream) {
    if (n < 1)
        return;
    const int each = interleave ? 8 : 16; /* rows of the tensor in a fragment row */
    const int from = interleave ? n0 : at + n0, before = interleave ? at / 16 : 0;
    packing p = {data, rows, segment, at, interleave, type, n0, n, k, before + from / each};
    const int fragment_rows = (from + n - 1) / each - from / each + 1;
    launch(k_pack, dim3(fragment_rows, (k + TILE - 1) / TILE), dim3(THREADS), 0, stream, p);
}

/* --- random weights ------------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t random_pair(uint32_t bits, float spread) {
    const float step = spread / 32768;
    return float_bf16x2(((float)(bits & 0xffff) - 32767.5f) * step,
                        ((float)(bits >> 16) - 32767.5f) * step);
}

static __global__ void __launch_bounds__(THREADS)
    k_pack_random(uint16_t *data, size_t elements, float spread, uint64_t key) {
    pdl_launch();
    pdl_wait();
    const size_t step = (size_t)gridDim.x * THREADS * 8;
    for (size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 8; i < elements; i += step) {
        const uint64_t a = rng_mix(key + i), b = rng_mix(key + i + 1);
        const uint4 x =
            make_uint4(random_pair((uint32_t)a, spread), random_pair((uint32_t)(a >> 32), spread),
                       random_pair((uint32_t)b, spread), random_pair((uint32_t)(b >> 32), spread));
        *(uint4 *)(data + i) = x; /* elements come in fragments of 256 */
    }
}

void cuda_pack_random(uint16_t *data, size_t elements, float spread, uint64_t seed,
                      cudaStream_t stream) {
    const size_t most = (size_t)device_multiprocessors() * 8,
                 blocks = (elements / 8 + THREADS - 1) / THREADS;
    if (blocks)
        launch(k_pack_random, dim3((unsigned)(blocks < most ? blocks : most)), dim3(THREADS), 0,
               stream, data, elements, spread, rng_mix(seed));
}

/* --- the sweep ------------------------------------------------------------------------------ */

/* A block takes stretches of SWEEP_LOADS * SWEEP_THREADS words of 16 bytes; its result only keeps
 * the loads alive. */
static __global__ void __launch_bounds__(SWEEP_THREADS)
    k_sweep(const uint4 *data, size_t words, float *out) {
    pdl_launch();
    pdl_wait();
    const size_t stretch = (size_t)SWEEP_LOADS * SWEEP_THREADS;
    uint32_t sum = 0;
    for (size_t at = blockIdx.x * stretch; at < words; at += gridDim.x * stretch) {
        const size_t i = at + threadIdx.x;
        uint4 x[SWEEP_LOADS];
#pragma unroll
        for (int j = 0; j < SWEEP_LOADS; j++)
            x[j] = i + j * SWEEP_THREADS < words ? load_once(data + i + j * SWEEP_THREADS)
                                                 : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < SWEEP_LOADS; j++)
            sum += x[j].x ^ x[j].y ^ x[j].z ^ x[j].w;
    }
    const int all = __syncthreads_count(sum == 0x9e3779b9u);
    if (threadIdx.x == 0)
        out[blockIdx.x] = (float)all;
}

/* At most four blocks a multiprocessor. */
void cuda_sweep(const void *data, size_t bytes, float *out, cudaStream_t stream) {
    const size_t words = bytes / 16, stretch = (size_t)SWEEP_LOADS * SWEEP_THREADS;
    const size_t most = (size_t)device_multiprocessors() * 4,
                 blocks = (words + stretch - 1) / stretch;
    if (blocks)
        launch(k_sweep, dim3((unsigned)(blocks < most ? blocks : most)), dim3(SWEEP_THREADS), 0,
               stream, (const uint4 *)data, words, out);
}
