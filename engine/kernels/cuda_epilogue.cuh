/* What becomes of a finished sum: the four epilogues of a product. All kernels of products use
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
    return __fdividef(x, 1 + __expf(-x));
}

/* What a lane needs to know of an output before it meets rows. */
struct output {
    int r;
    bool there;       /* r < n; for a gate: of the real ones */
    bool there_even;  /* the even one of it and its neighbour */
    acts_place place; /* RESIDUAL, SWIGLU */
    float factor;     /* RESIDUAL: the gain; QKV: the bias */
};
/* Fragment row r of fragment f; a gate (r < 8) stands for itself and its up. */
[[maybe_unused]] static __device__ __forceinline__ output output_of(const cuda_product &p, int f,
                                                                    int r) {
    const bool gates = p.epilogue == CUDA_SWIGLU;
    const int at = gates ? f * 8 + r % 8 : f * 16 + r;
    const int n = gates ? p.w.n / 2 : p.w.n;
    output o = {at, at < n, (at & ~1) < n, {0, 0, 0}, 0};
    if (gates || p.epilogue == CUDA_RESIDUAL)
        o.place = acts_place_of(p.acts_out, at);
    if (p.epilogue == CUDA_RESIDUAL && o.there)
        o.factor = p.gain[at];
    if (p.epilogue == CUDA_QKV && p.bias && o.there)
        o.factor = p.bias[at];
    return o;
}

/* QKV, LOGITS */
[[maybe_unused]] static __device__ __forceinline__ void
store_normed(const cuda_product &p, const output &o, int row, float sum, float rms) {
    if (o.there)
        p.y[(size_t)row * p.ldy + o.r] = sum * rms + o.factor;
}

[[maybe_unused]] static __device__ __forceinline__ float swiglu(float gate, float up, float rms) {
    return silu(gate * rms) * (up * rms);
}
[[maybe_unused]] static __device__ __forceinline__ void
store_swiglu(const cuda_product &p, const output &o, int row, float gate, float up, float rms) {
    if (o.there)
        p.acts_out.data[acts_in(o.place, row)] = float_bf16(swiglu(gate, up, rms));
}

[[maybe_unused]] static __device__ __forceinline__ float load_residual(const cuda_product &p,
                                                                       const output &o, int row) {
    return o.there ? __ldcg(p.y + (size_t)row * p.ldy + o.r) : 0;
}

/* x: the residual before. Returns the new one. */
[[maybe_unused]] static __device__ __forceinline__ float
add_residual(const cuda_product &p, const output &o, int row, float x, float sum) {
    if (!o.there)
        return 0;
    x += sum;
    p.y[(size_t)row * p.ldy + o.r] = x;
    return x;
}
/* Of an output; products are rounded before they are added, in all kernels. */
[[maybe_unused]] static __device__ __forceinline__ float square_of(float x) {
    return __fmul_rn(x, x);
}
/* x: the residual before. Returns the square of the new one. */
[[maybe_unused]] static __device__ __forceinline__ float
store_residual(const cuda_product &p, const output &o, int row, float x, float sum) {
    x = add_residual(p, o, row, x, sum);
    if (o.there)
        p.acts_out.data[acts_in(o.place, row)] = float_bf16(x * o.factor);
    return square_of(x);
}

/* Activations x[j] of output o in rows row and row + 1, where lanes l and l ^ 4 have neighbouring
 * outputs: each stores both in one of the rows, as one word. */
[[maybe_unused]] static __device__ __forceinline__ void
store_words(const cuda_product &p, const output &o, int row, const float x[2]) {
    const bool odd = threadIdx.x & 4;
    const float theirs = __shfl_xor_sync(~0u, odd ? x[0] : x[1], 4);
    const uint32_t word = odd ? float_bf16x2(theirs, x[1]) : float_bf16x2(x[0], theirs);
    const acts_place even = {o.place.chunk, o.place.group, o.place.offset & ~1};
    if (o.there_even)
        *(uint32_t *)(p.acts_out.data + acts_in(even, row + odd)) = word;
}
