/* The streaming pass: what of every key is remembered while rows come. */
#include "analysis/lifecycle.h"

#include <stdlib.h>

struct alone {
    struct lifecycle_params all;
};
const struct option lifecycle_options[] = {
    // clang-format off
    LIFECYCLE_OPTIONS(struct alone, all),
    OPTION_END,
    // clang-format on
};

void lifecycle_open(struct lifecycle *life, int32_t room) {
    *life = (struct lifecycle){.room = room};
    life->keys = must_zalloc((size_t)room, sizeof *life->keys);
}

void lifecycle_close(struct lifecycle *life) {
    free(life->keys);
    *life = (struct lifecycle){0};
}

void lifecycle_begin(struct lifecycle *life, const struct lifecycle_params *params,
                     int32_t n_prompt) {
    for (int32_t j = 0; j < life->room; j++)
        life->keys[j] = (struct key_life){.first = -1, .last = -1, .touched = -1};
    life->params = *params;
    life->n_prompt = n_prompt;
    life->first_query = life->n_rows = life->n_keys = 0;
    life->mass = life->listed = life->near_by = 0;
}

static void reached(struct lifecycle *life, struct key_life *key, int32_t query, int32_t age,
                    float prob) {
    key->touched = query;
    if (age <= life->params.window)
        return;
    if (!key->uses++)
        key->first = query;
    else if (query - key->last - 1 > key->gap)
        key->gap = query - key->last - 1;
    key->last = query;
    key->peak = prob > key->peak ? prob : key->peak;
}

void lifecycle_row(struct lifecycle *life, const struct attended *row) {
    const struct lifecycle_params *p = &life->params;
    if (row->prompt && p->rows == ROWS_DECODE)
        return;
    if (!life->n_rows)
        life->first_query = row->query;
    CHECK(row->query == life->first_query + life->n_rows && row->query < life->room);
    life->n_rows++;
    life->n_keys = row->query + 1;
    life->mass += 1;
    float theta = (float)(p->relative > 0 ? p->relative / row->held : p->theta);
    int32_t window = (int32_t)p->window;
    double far = 0, near_by = 0;
    for (int32_t k = 0; k < row->n; k++) {
        float a = row->prob[k];
        int32_t age = row->query - row->position[k];
        struct key_life *key = &life->keys[row->position[k]];
        if (age <= window) {
            near_by += (double)a;
        } else {
            far += (double)a;
            key->mass += (double)a;
        }
        if (a >= theta)
            reached(life, key, row->query, age, a);
    }
    life->listed += near_by + far;
    life->near_by += near_by;
}

int32_t lifecycle_prune(int32_t *position, float *prob, int32_t n, float least) {
    int32_t kept = 0;
    for (int32_t k = 0; k < n; k++) {
        position[kept] = position[k];
        prob[kept] = prob[k];
        kept += prob[k] >= least;
    }
    return kept;
}
