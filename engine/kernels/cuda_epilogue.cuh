/* What becomes of a finished sum: the four epilogues of a product. Both kernels of products use
 * these, element by element, so that a row has the same bits whichever computed it. */
#pragma once

#include "engine/kernels/cuda_common.cuh"

/* 1 / rms from the sums of a row's squares. The order is one for all kernels: lane j of 32 adds the
 * tiles j, j + 32, ..., then j and j ^ 16 are added, j and j ^ 8, down to j ^ 1. */
[[maybe_unused]] static __device__ __forceinline__ float rms_from(const cuda_product &p,
                                                                  float sum) {
    return 1 / sqrtf(sum / (float)p.dim + p.eps);
}
[[maybe_unused]] static __device__ __forceinline__ float lane_squares(const cuda_product &p,
                                                                      int row, int j) {
    float sum = 0;
#pragma unroll 8
    for (int tile = j; tile < p.n_squares; tile += 32)
        sum += __ldcg(p.squares + (size_t)tile * p.squares_stride + row);
    return sum;
}
/* By one warp. */
[[maybe_unused]] static __device__ __forceinline__ float row_rms(const cuda_product &p, int row,
                                                                 int lane) {
    return rms_from(p, warp_sum(lane_squares(p, row, lane)));
}

[[maybe_unused]] static __device__ __forceinline__ float silu(float x) {
    return x / (1 + expf(-x));
}

/* y of the first two kinds with a norm before them. */
[[maybe_unused]] static __device__ __forceinline__ void store_normed(const cuda_product &p, int row,
                                                                     int r, float sum, float rms) {
    if (r >= p.w.n)
        return;
    float bias = p.epilogue == CUDA_QKV && p.bias ? p.bias[r] : 0;
    p.y[(size_t)row * p.ldy + r] = sum * rms + bias;
}

/* Fragment row r < 8 of a tile holds a gate, r + 8 its up. */
[[maybe_unused]] static __device__ __forceinline__ void
store_swiglu(const cuda_product &p, int row, int tile, int r, float gate, float up, float rms) {
    int i = tile * 8 + r;
    if (i < p.w.n / 2)
        p.acts_out.data[acts_at(p.acts_out, row, i)] = float_bf16(silu(gate * rms) * (up * rms));
}

[[maybe_unused]] static __device__ __forceinline__ float load_residual(const cuda_product &p,
                                                                       int row, int r) {
    return r < p.w.n ? __ldcg(p.y + (size_t)row * p.ldy + r) : 0;
}

/* x: the residual before. Returns the square of the new one. */
[[maybe_unused]] static __device__ __forceinline__ float
store_residual(const cuda_product &p, int row, int r, float x, float sum) {
    if (r >= p.w.n)
        return 0;
    x += sum;
    p.y[(size_t)row * p.ldy + r] = x;
    p.acts_out.data[acts_at(p.acts_out, row, r)] = float_bf16(x * p.gain[r]);
    return x * x;
}
