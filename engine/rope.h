/* Rotary position embedding, half-split as in the Hugging Face models: (x[i], x[i + d/2]) is one
 * pair. */
#pragma once

/* row: cos of the d/2 angles, then sin. direction +1 rotates, -1 undoes it. out may be x. */
static inline void rope_rotate(const float *x, const float *row, int d, float direction,
                               float *out) {
    int half = d / 2;
    for (int i = 0; i < half; i++) {
        float c = row[i], s = direction * row[half + i], a = x[i], b = x[half + i];
        out[i] = a * c - b * s;
        out[half + i] = b * c + a * s;
    }
}
