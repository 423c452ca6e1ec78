/* Products for at most 4 rows: y = x W with every weight read once, at the speed of memory. A block
 * takes one tile of 16 outputs after the other; four warps take two segments of k each, and the
 * eight sums are added in the order of the segments. cuda_many.cu adds in the same order, so a row
 * has the same bits in both. One block stands on every multiprocessor, so that the next product's
 * blocks fit beside and fill their rings while this one still runs. */
#include "engine/kernels/cuda_epilogue.cuh"
#include "engine/kernels/cuda_products.cuh"
#include "engine/kernels/cuda_ring.cuh"

enum { STAGES = 6, WARPS = 4, PIECE = 4 * 256, STAGE = CUDA_SEGMENTS * PIECE }; /* elements */
enum { COPIER = WARPS, NORMER, THREADS = 32 * (NORMER + 1) };                   /* other warps */

struct few_shared {
    uint16_t ring[STAGES][STAGE];
    float sums[2][CUDA_SEGMENTS][128];
    float rms[4];
    uint64_t full[STAGES], empty[STAGES], normed;
};

static __device__ __forceinline__ int tiles_of(const cuda_product &p) { return (p.w.n + 15) / 16; }

/* Fragments that chunk c of a segment has: 4, fewer at its end. */
static __device__ __forceinline__ int fragments_of(const cuda_product &p, int c) {
    return min(4, p.w.segment / 16 - 4 * c);
}

static __device__ void copy_weights(const cuda_product &p, few_shared &s, int lane) {
    ring_place at = {0, 0};
    const int fragments = p.w.segment / 16;
    for (int tile = blockIdx.x; tile < tiles_of(p); tile += gridDim.x)
        for (int c = 0; c < p.acts.chunks; c++, ring_next<STAGES>(&at)) {
            int bytes = fragments_of(p, c) * 512;
            barrier_wait(&s.empty[at.stage], at.round ^ 1);
            copy_expect(&s.full[at.stage], CUDA_SEGMENTS * bytes, lane);
            for (int seg = 0; seg < CUDA_SEGMENTS; seg++)
                if (copies_piece(lane, seg))
                    copy_piece(s.ring[at.stage] + seg * PIECE,
                               p.w.data +
                                   (((size_t)tile * CUDA_SEGMENTS + seg) * fragments + 4 * c) * 256,
                               bytes, &s.full[at.stage], true);
            copy_done(&s.full[at.stage]);
        }
}

/* The B fragments of two segments' chunk c: lane n * 4 + j holds four inputs of row n. */
template <int ROWS>
static __device__ __forceinline__ void load_acts(const cuda_acts &a, int warp, int c, int lane,
                                                 uint2 (*out)[4]) {
    const int row = lane / 4, j = lane % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const size_t chunk = (size_t)(2 * warp + i) * a.chunks + c;
        const uint16_t *from = a.data + (chunk * a.rows + row) * 64 + j * 4;
#pragma unroll
        for (int b = 0; b < 4; b++)
            out[i][b] = row < ROWS ? __ldcg((const uint2 *)(from + (b ^ (row % 4)) * 16))
                                   : make_uint2(0, 0);
    }
}

/* Thread e finishes element (r = e % 16, row = e / 16) of the tile. */
template <int ROWS>
static __device__ __forceinline__ void finish_tile(const cuda_product &p, const few_shared &s,
                                                   const float (*sums)[128], int tile, int e,
                                                   float x) {
    const int r = e % 16, row = e / 16;
    float sum = 0, up = 0;
#pragma unroll
    for (int seg = 0; seg < CUDA_SEGMENTS; seg++) {
        sum += sums[seg][row * 16 + r];
        up += p.epilogue == CUDA_SWIGLU && r < 8 ? sums[seg][row * 16 + r + 8] : 0;
    }
    if (p.epilogue == CUDA_RESIDUAL) {
        float square = row < ROWS ? store_residual(p, row, tile * 16 + r, x, sum) : 0;
        for (int i = 8; i; i /= 2)
            square += __shfl_xor_sync(~0u, square, i);
        if (r == 0 && row < ROWS)
            p.squares_out[(size_t)tile * p.acts_out.rows + row] = square;
    } else if (row < ROWS && p.epilogue == CUDA_SWIGLU) {
        if (r < 8)
            store_swiglu(p, row, tile, r, sum, up, s.rms[row]);
    } else if (row < ROWS) {
        store_normed(p, row, tile * 16 + r, sum, s.rms[row]);
    }
}

template <int ROWS>
static __device__ void compute(const cuda_product &p, few_shared &s, int warp, int lane) {
    ring_place at = {0, 0};
    uint2 acts[2][4], next[2][4];
    const int e = warp * 32 + lane;
    bool normed = p.epilogue == CUDA_RESIDUAL;
    load_acts<ROWS>(p.acts, warp, 0, lane, next);
    for (int tile = blockIdx.x, turn = 0; tile < tiles_of(p); tile += gridDim.x, turn ^= 1) {
        float sum[2][4] = {}, x = 0;
        if (p.epilogue == CUDA_RESIDUAL && e / 16 < ROWS)
            x = load_residual(p, e / 16, tile * 16 + e % 16);
        for (int c = 0; c < p.acts.chunks; c++, ring_next<STAGES>(&at)) {
            memcpy(acts, next, sizeof acts);
            load_acts<ROWS>(p.acts, warp, c + 1 < p.acts.chunks ? c + 1 : 0, lane, next);
            const int n = fragments_of(p, c);
            const uint16_t *stage = s.ring[at.stage] + 2 * warp * PIECE + lane * 8;
            barrier_wait(&s.full[at.stage], at.round);
#pragma unroll
            for (int f = 0; f < 4; f++)
                if (f < n) {
                    mma(sum[0], *(const uint4 *)(stage + f * 256), acts[0][f]);
                    mma(sum[1], *(const uint4 *)(stage + PIECE + f * 256), acts[1][f]);
                }
            __syncwarp();
            if (lane == 0)
                barrier_arrive(&s.empty[at.stage]);
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) /* element (row lane / 4 + 8 (j / 2), column) */
                s.sums[turn][2 * warp + i][(lane % 4 * 2 + j % 2) * 16 + lane / 4 + j / 2 * 8] =
                    sum[i][j];
        sync_some(WARPS * 32); /* two buffers: who writes one again has passed the next barrier */
        if (!normed)
            barrier_wait(&s.normed, 0), normed = true;
        finish_tile<ROWS>(p, s, s.sums[turn], tile, e, x);
    }
}

template <int ROWS>
static __device__ void compute_rms(const cuda_product &p, few_shared &s, int lane) {
    if (p.epilogue != CUDA_RESIDUAL)
        for (int row = 0; row < ROWS; row++) {
            float rms = row_rms(p, row, lane);
            if (lane == 0)
                s.rms[row] = rms;
        }
    if (lane == 0)
        barrier_arrive(&s.normed);
}

template <int ROWS>
__global__ void __launch_bounds__(THREADS) k_few(const __grid_constant__ cuda_product p) {
    extern __shared__ __align__(128) char memory[];
    few_shared &s = *(few_shared *)memory;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++)
            barrier_init(&s.full[i], COPY_ARRIVALS), barrier_init(&s.empty[i], WARPS);
        barrier_init(&s.normed, 1);
    }
    barrier_init_done();
    pdl_launch();
    if (warp == COPIER) {
        copy_weights(p, s, lane);
        pdl_wait();
        return;
    }
    pdl_wait();
    if (warp == NORMER)
        compute_rms<ROWS>(p, s, lane);
    else
        compute<ROWS>(p, s, warp, lane);
}

template <int ROWS> static void launch_few(const cuda_product *p, int blocks, cudaStream_t stream) {
    launch(k_few<ROWS>, dim3(blocks), dim3(THREADS), sizeof(few_shared), stream, *p);
}

void product_few(const cuda_product *p, cudaStream_t stream) {
    int tiles = (p->w.n + 15) / 16, room = product_blocks();
    int blocks = tiles < room ? tiles : room;
    if (p->rows <= 1)
        launch_few<1>(p, blocks, stream);
    else
        launch_few<4>(p, blocks, stream);
}
