/* Small pieces that several kernels share: dependent launches, warp reductions, the matrix
 * instruction, launching. */
#pragma once

#include <cuda_bf16.h>
#include <math_constants.h>
#include <stdint.h>

#include "engine/cuda_device.h"

/* --- dependent launches --------------------------------------------------------------------- */

/* Lets the next kernel of the stream start early; it still waits for all of this one in pdl_wait.
 */
[[maybe_unused]] static __device__ __forceinline__ void pdl_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/* Returns when all kernels before this one have ended and their writes can be seen. */
[[maybe_unused]] static __device__ __forceinline__ void pdl_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Of the current device (cuda_launch.cu). */
int device_multiprocessors();
int device_capability();   /* major * 10 + minor */
int device_block_memory(); /* bytes of shared memory that a block may have */
/* True where kernels may start before their predecessors have ended (compute capability 9). */
bool cuda_early_launch();

/* Launches a kernel that calls pdl_wait. */
template <typename... P, typename... A>
[[maybe_unused]] static void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                                    cudaStream_t stream, A... arguments) {
    cudaLaunchConfig_t config = {};
    if (shared > 32 * 1024) /* with what the kernel declares it may be over 48 KiB */
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    cudaLaunchAttribute early = {};
    config.gridDim = grid, config.blockDim = block;
    config.dynamicSmemBytes = shared, config.stream = stream;
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &early, config.numAttrs = cuda_early_launch() ? 1 : 0;
    cudaLaunchKernelEx(&config, kernel, P(arguments)...);
}

/* --- bf16 ----------------------------------------------------------------------------------- */

[[maybe_unused]] static __device__ __forceinline__ float bf16_float(uint16_t b) {
    return __uint_as_float((uint32_t)b << 16);
}
[[maybe_unused]] static __device__ __forceinline__ uint16_t float_bf16(float x) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
/* Two neighbours as one word, the first in the low half. */
[[maybe_unused]] static __device__ __forceinline__ uint32_t float_bf16x2(float low, float high) {
    return (uint32_t)float_bf16(low) | (uint32_t)float_bf16(high) << 16;
}

/* --- the matrix instruction ----------------------------------------------------------------- */

/* c += a b: a is a fragment (16 x 16), b 16 x 8, c 16 x 8 in fp32. Lane l holds of c the elements
 * (l / 4, l % 4 * 2), (same, + 1), (l / 4 + 8, ...), (..., + 1). */
[[maybe_unused]] static __device__ __forceinline__ void mma(float c[4], const uint4 a,
                                                            const uint2 b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

/* Loads from shared memory that stay where they stand: in front of what they feed. */
[[maybe_unused]] static __device__ __forceinline__ uint4 load_shared4(const void *p) {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"((uint32_t)__cvta_generic_to_shared(p)));
    return x;
}
/* B fragments of 8 rows, or of 16: lane l names the 16 bytes (group of 8 inputs l / 8 % 2) of row
 * l % 8 (and of its partner 8 rows on from lane 16 on). */
[[maybe_unused]] static __device__ __forceinline__ void load_matrices(const void *p, uint2 *b) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b->x), "=r"(b->y)
                 : "r"((uint32_t)__cvta_generic_to_shared(p)));
}
[[maybe_unused]] static __device__ __forceinline__ void load_matrices4(const void *p, uint2 *b) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0].x), "=r"(b[0].y), "=r"(b[1].x), "=r"(b[1].y)
                 : "r"((uint32_t)__cvta_generic_to_shared(p)));
}

/* --- keys as fragments ---------------------------------------------------------------------- */

/* Smallest and largest of each of 16 dims over the live slots of a fragment of keys; one warp. */
[[maybe_unused]] static __device__ void store_bounds(const uint4 &key, uint32_t live, uint16_t *lo,
                                                     uint16_t *hi) {
    const int lane = threadIdx.x % 32, slot = lane / 4, c = lane % 4 * 2;
    const uint32_t word[4] = {key.x, key.y, key.z, key.w};
    for (int i = 0; i < 4; i++) { /* dim c + i / 2 * 8 + i % 2 */
        float low = CUDART_INF_F, high = -CUDART_INF_F;
        for (int lower = 0; lower < 2; lower++)
            if (live >> (slot + lower * 8) & 1) {
                float x = bf16_float((uint16_t)(word[i / 2 * 2 + lower] >> i % 2 * 16));
                low = fminf(low, x), high = fmaxf(high, x);
            }
        for (int step = 4; step < 32; step *= 2) {
            low = fminf(low, __shfl_xor_sync(~0u, low, step));
            high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
        }
        if (slot == 0) {
            lo[c + i / 2 * 8 + i % 2] = float_bf16(low);
            hi[c + i / 2 * 8 + i % 2] = float_bf16(high);
        }
    }
}

/* An 8 x 8 matrix of bf16, one word a lane (row lane / 4, columns lane % 4 * 2 and the next). */
[[maybe_unused]] static __device__ __forceinline__ uint32_t transpose(uint32_t x) {
    uint32_t y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

/* What is read once. */
[[maybe_unused]] static __device__ __forceinline__ uint4 load_once(const void *p) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return x;
}

/* --- reductions in a fixed order ------------------------------------------------------------ */

[[maybe_unused]] static __device__ __forceinline__ float warp_sum(float x) {
    for (int i = 16; i; i /= 2)
        x += __shfl_xor_sync(~0u, x, i);
    return x;
}
[[maybe_unused]] static __device__ __forceinline__ float warp_max(float x) {
    for (int i = 16; i; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    return x;
}
