/* Products for many rows on compute capability 9.0: the same items, shares and order of sums as in
 * cuda_many.cu, multiplied by warpgroups (wgmma, PTX ISA "asynchronous warpgroup level matrix
 * instructions"). Weights come as A fragments, which are the same registers as for mma;
 * activations are read from shared memory as they lie: rows of 128 bytes whose groups of 8 inputs
 * are swizzled by the row, the layout that the instruction calls 128-byte swizzle. */
#include "engine/kernels/cuda_items.cuh"
#include "engine/kernels/cuda_products.cuh"

enum { ROWS = 128, GROUPS = 2, WARPS = 4 * GROUPS, STAGES = 6, NT = ROWS / 8 };

struct wide_shared {
    uint16_t acts[STAGES][ROWS * 64]; /* at multiples of 1024 bytes */
    uint16_t weights[STAGES][TILE * PIECE];
    uint64_t full[STAGES], empty[STAGES];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/* What the instruction wants to know of B: its first byte, 1024 bytes from 8 rows to the next 8,
 * 128-byte swizzle. */
static __device__ __forceinline__ uint64_t describe(const uint16_t *acts, int f) {
    const uint64_t at = (shared_address(acts) + f * 32) >> 4;
    return (at & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* d += a b; d as mma has it, of 16 tiles of 8 rows. */
static __device__ __forceinline__ void wgmma(float d[NT][4], const uint4 a, uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16{"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63},"
                 "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
                 : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]),
                   "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]),
                   "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]),
                   "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]),
                   "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]),
                   "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
                   "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]),
                   "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
                   "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]),
                   "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]),
                   "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]),
                   "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]),
                   "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b));
}

static __device__ __forceinline__ void wgmma_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void wgmma_end() {
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}

/* Behind a segment's end weights count as zero; activations are zero there. */
static __device__ __forceinline__ void multiply_chunk(const wide_shared &s, int stage, int n,
                                                      sums<1, NT> &x) {
    const uint16_t *a = s.weights[stage] + x.fragment * n * 256 + x.lane * 8;
    uint4 weights[4];
#pragma unroll
    for (int f = 0; f < 4; f++) {
        weights[f] = load_shared4(a + f * 256);
        if (f >= n)
            weights[f] = make_uint4(0, 0, 0, 0);
    }
    wgmma_begin();
#pragma unroll
    for (int f = 0; f < 4; f++)
        wgmma(x.sum[0], weights[f], describe(s.acts[stage], f));
    wgmma_end();
}

#endif

__global__ void __launch_bounds__((WARPS + 1) * 32)
    k_wide(const __grid_constant__ cuda_product p, const __grid_constant__ shares share) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) char memory[];
    wide_shared &s = *(wide_shared *)(memory + (-shared_address(memory) & 1023));
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; i++)
            barrier_init(&s.full[i], COPY_ARRIVALS), barrier_init(&s.empty[i], WARPS);
    barrier_init_done();
    pdl_launch();
    if ((int)blockIdx.x >= share.blocks)
        return pdl_wait();
    const walk w = walk_of(share, blockIdx.x);
    if (warp == WARPS) {
        const copier<ROWS, STAGES, wide_shared> copy = {p, s, w, lane};
        copy.run();
        return;
    }
    pdl_wait();
    sums<1, NT> x;
    x.warp = warp, x.warps = WARPS, x.lane = lane;
    x.fragment = warp, x.column = 0;
    compute_walk<ROWS, STAGES>(
        p, s, w, x, [&](int stage, int n) { multiply_chunk(s, stage, n, x); },
        [&](const place &item) { return p.rms + item.row_block * ROWS; });
#endif
}

bool product_wide(const cuda_product *p, cudaStream_t stream) {
    if (device_capability() != 90)
        return false;
    shares s = share_out(p->w.n, p->w.segment, p->rows / ROWS, device_multiprocessors());
    launch(k_wide, dim3(product_grid(s.blocks)), dim3((WARPS + 1) * 32), sizeof(wide_shared) + 1024,
           stream, *p, s);
    return true;
}
