/* Products for 8 rows and more. An item is a tile of 128 outputs times a block of rows. Every
 * block of threads first takes the same number of whole items; the few that are left over are cut
 * into segments of k, whose sums the last block to arrive adds. Whole or cut, the sums of the eight
 * segments are added in their order, as in cuda_few.cu: a row's bits depend neither on how many
 * rows there are, nor on its place, nor on the number of multiprocessors. */
#include "engine/kernels/cuda_epilogue.cuh"
#include "engine/kernels/cuda_products.cuh"
#include "engine/kernels/cuda_ring.cuh"

enum { TILE = 8, PIECE = 4 * 256 }; /* fragments' rows of a tile; elements */

/* NT: tiles of 8 rows that a warp computes, beside two fragment rows of outputs. WN: warps side by
 * side along the rows; four stand along the outputs. */
template <int NT, int WN> struct many {
    enum { ROWS = 8 * NT * WN, WARPS = 4 * WN, THREADS = 32 * WARPS };
    /* up to 64 rows, two products' rings fit on a multiprocessor */
    enum { STAGES = ROWS <= 16 || ROWS > 64 ? 6 : ROWS <= 32 ? 5 : 4 };
    struct shared {
        uint16_t weights[STAGES][TILE * PIECE];
        uint16_t acts[STAGES][ROWS * 64];
        float rms[ROWS], squares[WARPS][ROWS];
        uint64_t full[STAGES], empty[STAGES];
    };
};

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

static __device__ __forceinline__ int fragments_of(const cuda_product &p, int c) {
    return min(4, p.w.segment / 16 - 4 * c);
}

/* --- copying -------------------------------------------------------------------------------- */

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

template <int NT, int WN> struct copier {
    typedef many<NT, WN> size;
    const cuda_product &p;
    typename size::shared &s;
    const walk &w;
    int lane;

    __device__ void weights(const cursor &k, int stage) const {
        const int bytes = TILE * fragments_of(p, k.chunk) * 512;
        const size_t part = (size_t)k.at.tile * CUDA_SEGMENTS + k.at.segment;
        const size_t at = part * (p.w.segment / 16 * TILE) + 4 * TILE * k.chunk;
        copy_expect(&s.full[stage], bytes + size::ROWS * 128, lane);
        if (PIECE_STEP == 1 || lane == 0)
            copy_piece(s.weights[stage], p.w.data + at * 256, bytes, &s.full[stage],
                       w.s.row_blocks == 1);
    }
    __device__ void acts(const cursor &k, int stage) const {
        const size_t chunk = (size_t)k.at.segment * p.acts.chunks + k.chunk;
        const size_t row = chunk * p.acts.rows + (size_t)k.at.row_block * size::ROWS;
        if (PIECE_STEP == 1 || lane == 0)
            copy_piece(s.acts[stage], p.acts.data + row * 64, size::ROWS * 128, &s.full[stage],
                       false);
        copy_done(&s.full[stage]);
    }
    /* Weights of the first stages do not wait for the kernel before. */
    __device__ void run() const {
        const int n = w.steps * p.acts.chunks, first = min((int)size::STAGES, n);
        cursor a(w, p.acts.chunks), b(w, p.acts.chunks);
        for (int i = 0; i < first; i++, a.next())
            weights(a, i);
        pdl_wait();
        for (int i = 0; i < first; i++, b.next())
            acts(b, i);
        ring_place at = {0, 0};
        for (int i = first; i < n; i++, a.next(), ring_next<size::STAGES>(&at)) {
            barrier_wait(&s.empty[at.stage], at.round);
            weights(a, at.stage);
            acts(a, at.stage);
        }
    }
};

/* --- computing ------------------------------------------------------------------------------ */

template <int NT, int WN> struct computer {
    typedef many<NT, WN> size;
    const cuda_product &p;
    typename size::shared &s;
    const walk &w;
    int warp, lane;
    float total[2][NT][4], sum[2][NT][4];

    __device__ int first_column() const { return warp / 4 * NT * 8; } /* of its rows in the block */

    /* Operands of fragment f of the n that a chunk has along k. */
    struct operands {
        uint4 a[2];
        uint2 b[NT];
    };
    __device__ __forceinline__ void load(operands &o, int stage, int n, int f) {
        const uint16_t *a = s.weights[stage] + (warp % 4 * 2 * n + f) * 256 + lane * 8;
        const int group = (2 * f + lane / 8 % 2) ^ (lane % 8);
        const uint16_t *b =
            s.acts[stage] + (first_column() + lane / 16 % NT * 8 + lane % 8) * 64 + group * 8;
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
            mma(sum[0][t], o.a[0], o.b[t]);
            mma(sum[1][t], o.a[1], o.b[t]);
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

    /* Partial sums of a segment of a cut item lie as the registers do. */
    __device__ float4 *part(int cut, int segment, int i, int t) const {
        size_t at = (size_t)(cut * CUDA_SEGMENTS + segment) * size::WARPS + warp;
        return (float4 *)p.part + ((at * 2 + i) * NT + t) * 32 + lane;
    }
    __device__ void store_part(const place &at) {
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int t = 0; t < NT; t++)
                *part(at.cut, at.segment, i, t) =
                    make_float4(sum[i][t][0], sum[i][t][1], sum[i][t][2], sum[i][t][3]);
    }
    __device__ void add_parts(int cut) {
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int t = 0; t < NT; t++)
                for (int segment = 0; segment < CUDA_SEGMENTS; segment++) {
                    float4 x = __ldcg(part(cut, segment, i, t));
                    total[i][t][0] += x.x, total[i][t][1] += x.y;
                    total[i][t][2] += x.z, total[i][t][3] += x.w;
                }
    }

    /* Whether this warp, having stored `stored` segments of its part of a cut item, is the last:
     * the same warp of all blocks holds the same elements. */
    __device__ bool is_last(int cut, int stored) {
        int last = 0;
        __syncwarp();
        if (lane == 0) {
            int32_t *arrived = p.arrived + cut * size::WARPS + warp;
            __threadfence();
            last = atomicAdd(arrived, stored) + stored == CUDA_SEGMENTS;
            if (last)
                *arrived = 0;
            __threadfence();
        }
        return __shfl_sync(~0u, last, 0);
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
    __device__ void load_rms(int row_block) {
        sync_some(size::THREADS); /* the last item's are still read */
        for (int i = threadIdx.x; i < size::ROWS; i += size::THREADS)
            s.rms[i] = __ldcg(p.rms + row_block * size::ROWS + i);
        sync_some(size::THREADS);
    }

    __device__ void finish(int tile, int row_block) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int fragment = tile * TILE + warp % 4 * 2 + i, g = lane / 4;
            if (fragment >= (p.w.n + 15) / 16)
                break;
#pragma unroll
            for (int t = 0; t < NT; t++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const int column = first_column() + t * 8 + lane % 4 * 2 + j;
                    const int row = row_block * size::ROWS + column;
                    const float low = total[i][t][j], high = total[i][t][j + 2];
                    if (p.epilogue == CUDA_RESIDUAL)
                        finish_residual(fragment, g, row, low, high);
                    else if (p.epilogue == CUDA_SWIGLU)
                        store_swiglu(p, row, fragment, g, low, high, s.rms[column]);
                    else {
                        store_normed(p, row, fragment * 16 + g, low, s.rms[column]);
                        store_normed(p, row, fragment * 16 + g + 8, high, s.rms[column]);
                    }
                }
        }
    }
    __device__ void finish_residual(int fragment, int g, int row, float low, float high) {
        const int r = fragment * 16 + g;
        const float x = load_residual(p, row, r), y = load_residual(p, row, r + 8);
        float square = store_residual(p, row, r, x, low) + store_residual(p, row, r + 8, y, high);
        for (int k = 16; k >= 4; k /= 2)
            square += __shfl_xor_sync(~0u, square, k);
        if (g == 0)
            p.squares_out[(size_t)fragment * p.acts_out.rows + row] = square;
    }

    __device__ void run() {
        ring_place at = {0, 0};
        memset(total, 0, sizeof total);
        if (p.epilogue != CUDA_RESIDUAL && !p.rms)
            compute_rms();
        for (int i = 0; i < w.steps; i++) {
            const place here = place_of(w, i);
            memset(sum, 0, sizeof sum);
            for (int c = 0; c < p.acts.chunks; c++, ring_next<size::STAGES>(&at)) {
                barrier_wait(&s.full[at.stage], at.round);
                const int n = fragments_of(p, c);
                if (n == 4) /* nearly always */
                    whole_chunk(at.stage);
                else
                    short_chunk(at.stage, n);
                __syncwarp();
                if (lane == 0)
                    barrier_arrive(&s.empty[at.stage]);
            }
            const bool ends = i + 1 == w.cut || here.segment + 1 == CUDA_SEGMENTS;
            if (here.cut >= 0) {
                store_part(here);
                if (!ends || !is_last(here.cut, 1 + count_before(i)))
                    continue;
                add_parts(here.cut);
            } else {
#pragma unroll
                for (int j = 0; j < 2 * NT * 4; j++)
                    (&total[0][0][0])[j] += (&sum[0][0][0])[j];
                if (!ends)
                    continue;
            }
            if (p.rms && p.epilogue != CUDA_RESIDUAL)
                load_rms(here.row_block);
            finish(here.tile, here.row_block);
            memset(total, 0, sizeof total);
        }
    }
    /* Segments of step i's cut item that this block took before it. */
    __device__ int count_before(int i) const { return min(place_of(w, i).segment, i); }
};

template <int NT, int WN>
__global__ void __launch_bounds__((4 * WN + 1) * 32)
    k_many(const __grid_constant__ cuda_product p, const __grid_constant__ shares share) {
    typedef many<NT, WN> size;
    extern __shared__ __align__(128) char memory[];
    typename size::shared &s = *(typename size::shared *)memory;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        for (int i = 0; i < size::STAGES; i++)
            barrier_init(&s.full[i], COPY_ARRIVALS), barrier_init(&s.empty[i], size::WARPS);
    barrier_init_done();
    pdl_launch();
    const walk w = walk_of(share, blockIdx.x);
    if (warp == size::WARPS) {
        const copier<NT, WN> copy = {p, s, w, lane};
        copy.run();
        return;
    }
    pdl_wait();
    computer<NT, WN> compute = {p, s, w, warp, lane, {}, {}};
    compute.run();
}

/* --- launching ------------------------------------------------------------------------------ */

template <int NT, int WN> static void launch_many(const cuda_product *p, cudaStream_t stream) {
    typedef many<NT, WN> size;
    shares s = share_out(p->w.n, p->w.segment, p->rows / size::ROWS, product_blocks());
    int blocks = s.cut || s.items > s.blocks ? s.blocks : s.items;
    launch(k_many<NT, WN>, dim3(blocks), dim3(size::THREADS + 32), sizeof(typename size::shared),
           stream, *p, s);
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
        if (p->rms && p->epilogue != CUDA_RESIDUAL)
            launch(k_rms, dim3((p->rows + 7) / 8), dim3(256), 0, stream, *p, (float *)p->rms);
        launch_many<8, 2>(p, stream);
    }
}

int product_blocks() {
    static int blocks = 0;
    int device = 0;
    if (!blocks && cudaGetDevice(&device) == cudaSuccess)
        cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, device);
    return blocks ? blocks : 1;
}

bool cuda_early_launch() {
    static int major = 0;
    int device = 0;
    if (!major && cudaGetDevice(&device) == cudaSuccess)
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    return major >= 9;
}

void cuda_product_run(const cuda_product *p, cudaStream_t stream) {
    if (p->rows <= 4)
        product_few(p, stream);
    else
        product_many(p, stream);
}

size_t cuda_product_part_bytes(int32_t n, int32_t segment, int32_t rows) {
    int row_block = rows < CUDA_BLOCK_ROWS ? rows : CUDA_BLOCK_ROWS;
    shares s = share_out(n, segment, (rows + row_block - 1) / row_block, product_blocks());
    return (size_t)s.cut * CUDA_SEGMENTS * 128 * (size_t)row_block * sizeof(float);
}
