/* Activations in fp32 against bf16 weights: what machines without bf16 instructions do. */
#pragma once

typedef float act;

static inline vec chain(vec sum, pairs w, const act *x) {
    return v_fma(p_odd(w), v_all(x[1]), v_fma(p_even(w), v_all(x[0]), sum));
}

static inline vec chain_last(vec sum, pairs w, const act *x) {
    return v_fma(p_even(w), v_all(x[0]), sum);
}

static void keep_fp32(const float *x, size_t count, void *out) {
    memcpy(out, x, count * sizeof *x);
}
