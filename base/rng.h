/* Random numbers without state: a number is a pure function of its key, so that a sample's draws do
 * not depend on batch slot, thread or resume. Same bits on every machine (integer arithmetic only).
 */
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define RNG_FN static inline __host__ __device__
#else
#define RNG_FN static inline
#endif

/* SplitMix64's output function (Steele, Lea, Flood 2014): a bijection of 64 bits with good
 * avalanche. */
RNG_FN uint64_t rng_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Folds one more word into a key. */
RNG_FN uint64_t rng_key(uint64_t key, uint64_t word) { return rng_mix(key ^ rng_mix(word)); }

/* Uniform in [0, 1) with 24 bits: exact in float. */
RNG_FN float rng_uniform(uint64_t key) { return (float)(rng_mix(key) >> 40) * 0x1p-24f; }

/* A small sequential generator on top, for the problem generator and the bootstrap. */
struct rng {
    uint64_t key, count;
};
RNG_FN uint64_t rng_next(struct rng *r) { return rng_key(r->key, r->count++); }

/* Uniform integer in [0, n), n > 0: multiply-shift on 32 bits, bias below n / 2^32. */
RNG_FN uint32_t rng_below(struct rng *r, uint32_t n) {
    return (uint32_t)(((rng_next(r) >> 32) * (uint64_t)n) >> 32);
}
RNG_FN double rng_real(struct rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }
