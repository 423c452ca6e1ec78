/* IEEE half precision: what a file of attention stores. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HALF_NAN ((uint16_t)0x7e00)

/* Rounded to nearest, ties to even, as F16C does it; NaN becomes HALF_NAN with its sign. */
void half_narrow(const float *from, size_t n, uint16_t *to);
void half_widen(const uint16_t *from, size_t n, float *to);

/* What half_narrow does without F16C. */
void half_narrow_plain(const float *from, size_t n, uint16_t *to);
