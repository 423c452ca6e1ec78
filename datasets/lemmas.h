/* Options of the lemmas generator (datasets/lemmas.c), for callers that fill them without the
 * option table. */
#pragma once

#include <stdint.h>

enum lemmas_reuse { REUSE_LRU, REUSE_BIRTH, REUSE_UNIFORM, REUSE_PERIODIC };

struct lemmas_param {
    int64_t steps;   /* statements, people and lemmas of a problem */
    double lifetime; /* tau: the chance of re-use falls as exp(-age / tau) */
    double phoenix;  /* share of references that go to any earlier lemma instead */
    int reuse;       /* enum lemmas_reuse: what age means */
    int64_t seed;
};
