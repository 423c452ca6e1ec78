/* Products for at most 4 rows: y = x W with every weight read once, at the speed of memory. A block
 * takes one tile of 16 outputs after the other; four warps take two segments of k each, and the
 * eight sums are added in the order of the segments. cuda_many.cu adds in the same order, so a row
 * has the same bits in both. One block stands on every multiprocessor, with a ring so deep that no
 * second one fits: two would be two shares there, and none elsewhere. Where one has ended, the next
 * product's block begins, and fills its ring while other blocks still run. Small products of one
 * row take little: the next one's ring fills beside them, all through attention. */
#include "engine/kernels/cuda_epilogue.cuh"
#include "engine/kernels/cuda_products.cuh"
#include "engine/kernels/cuda_ring.cuh"

enum { WARPS = 4, PIECE = 4 * 256, STAGE = CUDA_SEGMENTS * PIECE }; /* elements */
/* Behind them: two warps that copy weights, one that copies activations, one that sums squares. */
enum { COPIERS = 2, ACTS_WARP = WARPS + COPIERS, NORM_WARP, THREADS = 32 * (NORM_WARP + 1) };

template <int ROWS, int DEPTH> struct few_shared {
    enum { STAGES = DEPTH };
    uint16_t weights[STAGES][STAGE];
    uint16_t acts[STAGES][CUDA_SEGMENTS][ROWS * 64];
    float sums[2][CUDA_SEGMENTS][128];
    float rms[ROWS];
    uint64_t full[STAGES], empty[STAGES], normed;
};

static __device__ __forceinline__ int tiles_of(const cuda_product &p) { return (p.w.n + 15) / 16; }

/* --- copying: a stage is chunk c of all segments of a tile ----------------------------------- */

/* Steps through the chunks of a block's tiles. */
struct cursor {
    int tile, chunk, chunks;
    __device__ void next() {
        if (++chunk == chunks)
            chunk = 0, tile += gridDim.x;
    }
};

template <int ROWS, int STAGES> struct copier {
    const cuda_product &p;
    few_shared<ROWS, STAGES> &s;
    int lane, first; /* segment of this warp */

    __device__ int stages() const {
        const int mine = (tiles_of(p) - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
        return mine * p.acts.chunks;
    }
    __device__ void weights(const cursor &k, int stage) const {
        const int mine = CUDA_SEGMENTS / COPIERS, n = chunk_fragments(p.w.segment, k.chunk);
        const size_t fragments = p.w.segment / 16 * 8; /* of a tile of 128 and a segment */
        copy_expect(&s.full[stage], mine * n * 512, lane);
        for (int i = piece_first(lane); i < mine; i += PIECE_STEP) {
            const size_t part = (size_t)(k.tile / 8) * CUDA_SEGMENTS + first + i;
            const size_t at = part * fragments + 32 * k.chunk + k.tile % 8 * n;
            copy_piece(s.weights[stage] + (first + i) * PIECE, p.w.data + at * 256, n * 512,
                       &s.full[stage], true);
        }
        copy_done(&s.full[stage]);
    }
    /* Weights do not wait for the kernel before. */
    __device__ void run_weights() const {
        ring_place at = {0, 0};
        cursor k = {(int)blockIdx.x, 0, p.acts.chunks};
        for (int i = stages(); i > 0; i--, k.next(), ring_next<STAGES>(&at)) {
            barrier_wait(&s.empty[at.stage], at.round ^ 1);
            weights(k, at.stage);
        }
    }
    /* 16 bytes a lane. */
    __device__ void run_acts() const {
        ring_place at = {0, 0};
        cursor k = {(int)blockIdx.x, 0, p.acts.chunks};
        for (int i = stages(); i > 0; i--, k.next(), ring_next<STAGES>(&at)) {
            barrier_wait(&s.empty[at.stage], at.round ^ 1);
            char *to = (char *)s.acts[at.stage];
            for (int j = lane; j < CUDA_SEGMENTS * ROWS * 8; j += 32) {
                const size_t chunk = (size_t)(j / (ROWS * 8)) * p.acts.chunks + k.chunk;
                const uint16_t *from = p.acts.data + chunk * p.acts.rows * 64;
                copy_word(to + j * 16, from + j % (ROWS * 8) * 8);
            }
            copy_words_done(&s.full[at.stage]);
        }
    }
};

/* --- computing ------------------------------------------------------------------------------ */

/* B fragment f of a chunk: lane n * 4 + j holds four inputs of row n. */
template <int ROWS>
static __device__ __forceinline__ uint2 acts_fragment(const uint16_t *chunk, int f, int lane) {
    const int row = lane / 4;
    const uint16_t *at = chunk + row * 64 + lane % 4 * 2;
    if (row >= ROWS)
        return make_uint2(0, 0);
    return make_uint2(*(const uint32_t *)(at + (2 * f ^ row) * 8),
                      *(const uint32_t *)(at + ((2 * f + 1) ^ row) * 8));
}

/* Thread e finishes element (r = e % 16, row = e / 16) of the tile. x: the residual before. */
template <int ROWS, int STAGES>
static __device__ __forceinline__ void
finish_tile(const cuda_product &p, const few_shared<ROWS, STAGES> &s, const float (*sums)[128],
            int tile, const output &o, int e, float x) {
    const int r = e % 16, row = e / 16;
    float sum = 0, up = 0;
#pragma unroll
    for (int seg = 0; seg < CUDA_SEGMENTS; seg++) {
        sum += sums[seg][row * 16 + r];
        up += p.epilogue == CUDA_SWIGLU && r < 8 ? sums[seg][row * 16 + r + 8] : 0;
    }
    if (p.epilogue == CUDA_RESIDUAL) {
        float square = row < ROWS ? store_residual(p, o, row, x, sum) : 0;
        for (int i = 8; i; i /= 2)
            square += __shfl_xor_sync(~0u, square, i);
        if (r == 0 && row < ROWS)
            p.squares_out[(size_t)tile * p.acts_out.rows + row] = square;
    } else if (row < ROWS && p.epilogue == CUDA_SWIGLU) {
        if (r < 8)
            store_swiglu(p, o, row, sum, up, s.rms[row]);
    } else if (row < ROWS) {
        store_normed(p, o, row, sum, s.rms[row]);
    }
}

template <int ROWS, int STAGES>
static __device__ void compute(const cuda_product &p, few_shared<ROWS, STAGES> &s, int warp,
                               int lane) {
    ring_place at = {0, 0};
    const int e = warp * 32 + lane;
    bool normed = p.epilogue == CUDA_RESIDUAL;
    for (int tile = blockIdx.x, turn = 0; tile < tiles_of(p); tile += gridDim.x, turn ^= 1) {
        float sum[2][4] = {}, x = 0;
        const output o = output_of(p, tile, e % 16);
        if (p.epilogue == CUDA_RESIDUAL && e / 16 < ROWS)
            x = load_residual(p, o, e / 16);
        for (int c = 0; c < p.acts.chunks; c++, ring_next<STAGES>(&at)) {
            const int n = chunk_fragments(p.w.segment, c);
            const uint16_t *weights = s.weights[at.stage] + 2 * warp * PIECE + lane * 8;
            const uint16_t *acts = s.acts[at.stage][2 * warp];
            barrier_wait(&s.full[at.stage], at.round);
#pragma unroll
            for (int f = 0; f < 4; f++)
                if (f < n) {
                    mma(sum[0], *(const uint4 *)(weights + f * 256),
                        acts_fragment<ROWS>(acts, f, lane));
                    mma(sum[1], *(const uint4 *)(weights + PIECE + f * 256),
                        acts_fragment<ROWS>(acts + ROWS * 64, f, lane));
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
        finish_tile<ROWS>(p, s, s.sums[turn], tile, o, e, x);
    }
}

template <int ROWS, int STAGES>
static __device__ void compute_rms(const cuda_product &p, few_shared<ROWS, STAGES> &s, int lane) {
    if (p.epilogue != CUDA_RESIDUAL)
        for (int row = 0; row < ROWS; row++) {
            float rms = row_rms(p, row, lane);
            if (lane == 0)
                s.rms[row] = rms;
        }
    if (lane == 0)
        barrier_arrive(&s.normed);
}

template <int ROWS, int STAGES>
__global__ void __launch_bounds__(THREADS) k_few(const __grid_constant__ cuda_product p) {
    extern __shared__ __align__(128) char memory[];
    few_shared<ROWS, STAGES> &s = *(few_shared<ROWS, STAGES> *)memory;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++)
            barrier_init(&s.full[i], COPIERS * COPY_ARRIVALS + 32),
                barrier_init(&s.empty[i], WARPS);
        barrier_init(&s.normed, 1);
    }
    barrier_init_done();
    pdl_launch();
    const int segment = (warp - WARPS) * (CUDA_SEGMENTS / COPIERS);
    const copier<ROWS, STAGES> copy = {p, s, lane, segment};
    if (warp >= WARPS && warp < ACTS_WARP)
        copy.run_weights();
    pdl_wait();
    if (warp == ACTS_WARP)
        copy.run_acts();
    else if (warp == NORM_WARP)
        compute_rms<ROWS>(p, s, lane);
    else if (warp < WARPS)
        compute<ROWS>(p, s, warp, lane);
}

template <int ROWS, int STAGES>
static void launch_ring(const cuda_product *p, int blocks, cudaStream_t stream) {
    launch(k_few<ROWS, STAGES>, dim3(blocks), dim3(THREADS), sizeof(few_shared<ROWS, STAGES>),
           stream, *p);
}

/* Whether one tile is all that a block has, and few stages hold it. */
static bool is_light(const cuda_product *p, int stages) {
    return p->light && (p->w.n + 15) / 16 <= device_multiprocessors() && p->acts.chunks <= stages;
}

/* A light ring lies beside a deep one of one row in a multiprocessor; two deep ones never do. */
template <int ROWS> static void launch_few(const cuda_product *p, int blocks, cudaStream_t stream) {
    enum { DEEP = ROWS == 1 ? 9 : 10, SHALLOW = 4, LIGHT = 3 };
    static_assert(ROWS > 1 ||
                  sizeof(few_shared<1, DEEP>) + sizeof(few_shared<1, LIGHT>) + 2048 <= 228 * 1024);
    if (ROWS == 1 && product_is_deep() && is_light(p, LIGHT))
        launch_ring<ROWS, LIGHT>(p, blocks, stream);
    else if (product_is_deep())
        launch_ring<ROWS, DEEP>(p, blocks, stream);
    else
        launch_ring<ROWS, SHALLOW>(p, blocks, stream);
}

void product_few(const cuda_product *p, cudaStream_t stream) {
    int blocks = product_grid((p->w.n + 15) / 16);
    if (p->rows <= 1)
        launch_few<1>(p, blocks, stream);
    else
        launch_few<4>(p, blocks, stream);
}
