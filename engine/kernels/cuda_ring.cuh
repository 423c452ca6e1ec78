/* A ring of stages in shared memory between one warp that copies and the warps that compute:
 * bulk copies of the copy engine on compute capability 9, cp.async before. Weights do not depend on
 * the kernel before, so the ring is filled while that one still runs. */
#pragma once

#include "engine/kernels/cuda_common.cuh"

[[maybe_unused]] static __device__ __forceinline__ uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* --- barriers ------------------------------------------------------------------------------- */

#if __CUDA_ARCH__ >= 900
enum { COPY_ARRIVALS = 1 };
#else
enum { COPY_ARRIVALS = 32 };
#endif

[[maybe_unused]] static __device__ __forceinline__ void barrier_init(uint64_t *barrier,
                                                                     int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals));
}
/* By all threads, before any of them uses a barrier. */
[[maybe_unused]] static __device__ __forceinline__ void barrier_init_done() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
    __syncthreads();
}
[[maybe_unused]] static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(
                     shared_address(barrier))
                 : "memory");
}
[[maybe_unused]] static __device__ __forceinline__ void barrier_wait(uint64_t *barrier,
                                                                     uint32_t parity) {
    uint32_t done = 0;
    while (!done)
#if __CUDA_ARCH__ >= 900
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2;"
                     " selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
#else
        asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2;"
                     " selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
#endif
}

/* --- copies --------------------------------------------------------------------------------- */

/* Before the copies of a stage, by the whole copying warp: how many bytes they will bring. */
[[maybe_unused]] static __device__ __forceinline__ void copy_expect(uint64_t *barrier, int bytes,
                                                                    int lane) {
#if __CUDA_ARCH__ >= 900
    if (lane == 0)
        asm volatile(
            "mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
            "r"(bytes)
            : "memory");
    __syncwarp();
#endif
}

/* 16 bytes by each lane, and after the words of a stage an arrival of each lane when they are
 * there.
 */
[[maybe_unused]] static __device__ __forceinline__ void copy_word(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}
[[maybe_unused]] static __device__ __forceinline__ void copy_words_done(uint64_t *barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

[[maybe_unused]] static __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* One piece of a stage (a multiple of 16 bytes). once: nothing else will read it. */
[[maybe_unused]] static __device__ __forceinline__ void
copy_piece(void *to, const void *from, int bytes, uint64_t *barrier, bool once) {
#if __CUDA_ARCH__ >= 900
    uint64_t hint = 0x12f0000000000000; /* L2: evict first */
    if (once)
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                     ".L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(hint)
                     : "memory");
    else
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                     "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier))
                     : "memory");
#else
    for (int i = (int)(threadIdx.x % 32) * 16; i < bytes; i += 32 * 16)
        copy_word((char *)to + i, (const char *)from + i);
#endif
}

/* After the copies of a stage, by the whole copying warp. */
[[maybe_unused]] static __device__ __forceinline__ void copy_done(uint64_t *barrier) {
#if __CUDA_ARCH__ < 900
    copy_words_done(barrier);
#endif
}

/* The pieces of a stage that a lane issues: i = piece_first(lane); i < n; i += PIECE_STEP. On
 * compute capability 9 every lane has its own, and all go out with one instruction; before, all
 * lanes work on each. */
#if __CUDA_ARCH__ >= 900
enum { PIECE_STEP = 32 };
#else
enum { PIECE_STEP = 1 };
#endif
[[maybe_unused]] static __device__ __forceinline__ int piece_first(int lane) {
    return PIECE_STEP == 1 ? 0 : lane;
}

/* --- the ring ------------------------------------------------------------------------------- */

/* Where a warp stands in the ring: stage, and how often it went round. */
struct ring_place {
    int stage;
    uint32_t round;
};
template <int STAGES> static __device__ __forceinline__ void ring_next(ring_place *at) {
    if (++at->stage == STAGES)
        at->stage = 0, at->round ^= 1;
}

/* A barrier among `threads` threads, not the whole block. */
[[maybe_unused]] static __device__ __forceinline__ void sync_some(int threads) {
    asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
}
