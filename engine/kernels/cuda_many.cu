/* Products for 8 rows and more. An item is a tile of 128 outputs times a block of rows. Every
 * block of threads takes the same number of whole items; the few that are left over are cut
 * into segments of k, and their sums are added at the end by all who have some. Whole or cut, the
 * sums of the eight segments are added in their order, as in cuda_few.cu: a row's bits depend
 * neither on how many rows there are, nor on its place, nor on the number of multiprocessors. */
#include "engine/kernels/cuda_items.cuh"
#include "engine/kernels/cuda_products.cuh"

/* NT: tiles of 8 rows that a warp computes, beside two fragment rows of outputs. WN: warps side by
 * side along the rows; four stand along the outputs. */
template <int NT, int WN, int BYTES> struct many {
    enum { ROWS = 8 * NT * WN, WARPS = 4 * WN, THREADS = 32 * WARPS };
    enum { STAGES = BYTES / (TILE * PIECE * 2 + ROWS * 128) };
    struct shared {
        uint16_t weights[STAGES][TILE * PIECE];
        uint16_t acts[STAGES][ROWS * 64];
        float rms[ROWS], squares[WARPS][ROWS];
        uint64_t full[STAGES], empty[STAGES];
    };
};

template <int NT, int WN, int BYTES> struct computer {
    typedef many<NT, WN, BYTES> size;
    const cuda_product &p;
    typename size::shared &s;
    const walk &w;
    sums<2, NT> &x;
    int warp, lane;

    /* Operands of fragment f of the n that a chunk has along k. */
    struct operands {
        uint4 a[2];
        uint2 b[NT];
    };
    __device__ __forceinline__ void load(operands &o, int stage, int n, int f) {
        const uint16_t *a = s.weights[stage] + (warp % 4 * 2 * n + f) * 256 + lane * 8;
        const int group = (2 * f + lane / 8 % 2) ^ (lane % 8);
        const uint16_t *b =
            s.acts[stage] + (x.column + lane / 16 % NT * 8 + lane % 8) * 64 + group * 8;
        o.a[0] = load_shared4(a), o.a[1] = load_shared4(a + n * 256);
        if (NT == 1)
            load_matrices(b, o.b);
        else
#pragma unroll
            for (int t = 0; t < NT; t += 2)
                load_matrices4(b + t * 8 * 64, o.b + t);
    }
    __device__ __forceinline__ void multiply(const operands &o) {
#pragma unroll
        for (int t = 0; t < NT; t++) {
            mma(x.sum[0][t], o.a[0], o.b[t]);
            mma(x.sum[1][t], o.a[1], o.b[t]);
        }
    }
    /* The next operands are on their way while these are multiplied. */
    __device__ __forceinline__ void whole_chunk(int stage) {
        operands o[2];
        load(o[0], stage, 4, 0);
#pragma unroll
        for (int f = 0; f < 4; f++) {
            if (f < 3)
                load(o[(f + 1) % 2], stage, 4, f + 1);
            multiply(o[f % 2]);
        }
    }
    __device__ __forceinline__ void short_chunk(int stage, int n) {
        for (int f = 0; f < n; f++) {
            operands o;
            load(o, stage, n, f);
            multiply(o);
        }
    }

    /* Rows of a narrow product: thread (row, w) adds for j = w, w + WARPS, ... */
    __device__ void compute_rms() {
        enum { EACH = 32 / size::WARPS };
        for (int row = lane; row < size::ROWS; row += 32) {
            float sum[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++)
                sum[i] = lane_squares(p, row, warp + size::WARPS * i);
#pragma unroll
            for (int k = EACH / 2; k; k /= 2)
#pragma unroll
                for (int i = 0; i < k; i++)
                    sum[i] += sum[i + k];
            s.squares[warp][row] = sum[0];
        }
        sync_some(size::THREADS);
        for (int row = threadIdx.x; row < size::ROWS; row += size::THREADS) {
            float sum[size::WARPS];
#pragma unroll
            for (int i = 0; i < size::WARPS; i++)
                sum[i] = s.squares[i][row];
#pragma unroll
            for (int k = size::WARPS / 2; k; k /= 2)
#pragma unroll
                for (int i = 0; i < k; i++)
                    sum[i] += sum[i + k];
            s.rms[row] = rms_from(p, sum[0]);
        }
        sync_some(size::THREADS);
    }

    __device__ void run() {
        if (p.epilogue != CUDA_RESIDUAL && !p.rms)
            compute_rms();
        compute_walk<size::ROWS, size::STAGES>(
            p, s, w, x,
            [&](int stage, int n) {
                if (n == 4) /* nearly always */
                    whole_chunk(stage);
                else
                    short_chunk(stage, n);
            },
            [&](const place &item) { return p.rms ? p.rms + item.row_block * size::ROWS : s.rms; });
    }
};

template <int NT, int WN, int BYTES>
__global__ void __launch_bounds__((4 * WN + 1) * 32, 1)
    k_many(const __grid_constant__ cuda_product p, const __grid_constant__ shares share) {
    typedef many<NT, WN, BYTES> size;
    extern __shared__ __align__(128) char memory[];
    typename size::shared &s = *(typename size::shared *)memory;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        for (int i = 0; i < size::STAGES; i++)
            barrier_init(&s.full[i], COPY_ARRIVALS), barrier_init(&s.empty[i], size::WARPS);
    barrier_init_done();
    pdl_launch();
    if ((int)blockIdx.x >= share.blocks)
        return pdl_wait();
    const walk w = walk_of(share, blockIdx.x);
    if (warp == size::WARPS) {
        const copier<size::ROWS, size::STAGES, typename size::shared> copy = {p, s, w, lane};
        copy.run();
        return;
    }
    pdl_wait();
    sums<2, NT> x;
    x.warp = warp, x.warps = size::WARPS, x.lane = lane;
    x.fragment = warp % 4 * 2, x.column = warp / 4 * NT * 8;
    computer<NT, WN, BYTES> compute = {p, s, w, x, warp, lane};
    compute.run();
}

/* --- launching ------------------------------------------------------------------------------ */

template <int NT, int WN, int BYTES>
static void launch_ring(const cuda_product *p, cudaStream_t stream) {
    typedef many<NT, WN, BYTES> size;
    shares s = share_out(p->w.n, p->w.segment, p->rows / size::ROWS, device_multiprocessors());
    launch(k_many<NT, WN, BYTES>, dim3(product_grid(s.blocks)), dim3(size::THREADS + 32),
           sizeof(typename size::shared), stream, *p, s);
}
template <int NT, int WN> static void launch_many(const cuda_product *p, cudaStream_t stream) {
    enum { DEEP = 180 << 10, SHALLOW = 80 << 10 }; /* a block of attention fits beside */
    if (product_is_deep())
        launch_ring<NT, WN, DEEP>(p, stream);
    else
        launch_ring<NT, WN, SHALLOW>(p, stream);
}

/* 1 / rms of every row, where too many blocks would each compute the same. */
__global__ void k_rms(const __grid_constant__ cuda_product p, float *rms) {
    pdl_launch();
    pdl_wait();
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    float x = row < p.rows ? row_rms(p, row, lane) : 0;
    if (lane == 0 && row < p.rows)
        rms[row] = x;
}

/* Whether whole items of 32 rows, not too long, give most multiprocessors one: where wider ones are
 * so few they would have to be cut, and sums of cut items travel through memory. */
static bool takes_narrow_items(const cuda_product *p) {
    enum { LONG = 2048 };
    const int items = (p->w.n + 127) / 128 * (p->rows / 32), most = device_multiprocessors();
    return p->w.k <= LONG && items <= most && 2 * items > most;
}

void product_many(const cuda_product *p, cudaStream_t stream) {
    if (p->rows == 8)
        launch_many<1, 1>(p, stream);
    else if (p->rows == 16)
        launch_many<1, 2>(p, stream);
    else if (p->rows == 32)
        launch_many<2, 2>(p, stream);
    else if (p->rows == 64)
        launch_many<4, 2>(p, stream);
    else {
        if (p->epilogue != CUDA_RESIDUAL)
            launch(k_rms, dim3((p->rows + 7) / 8), dim3(256), 0, stream, *p, p->rms);
        if (takes_narrow_items(p))
            launch_many<2, 2>(p, stream);
        else if (!product_wide(p, stream))
            launch_many<8, 2>(p, stream);
    }
}
