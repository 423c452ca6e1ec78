/* From what the pass remembers to classes of keys and of heads. */
#include "analysis/lifecycle.h"

const char *const key_class_names[KEY_CLASSES] = {
    "sink", "censored", "unused", "local", "phoenix", "recurring", "milestone",
};
const char *const head_class_names[HEAD_CLASSES] = {
    "streaming",
    "waterfall",
    "retrieval",
    "diffuse",
};

int32_t lifecycle_birth(const struct lifecycle *life, int32_t key) {
    return key < life->first_query ? life->first_query - 1 : key;
}

int32_t lifecycle_birth_silence(const struct lifecycle *life, int32_t key) {
    int32_t first = life->keys[key].first;
    return first < 0 ? 0 : first - lifecycle_birth(life, key) - 1;
}

int32_t lifecycle_lifetime(const struct lifecycle *life, int32_t key) {
    int32_t touched = life->keys[key].touched;
    return touched < 0 ? 0 : touched - lifecycle_birth(life, key);
}

enum key_class lifecycle_class(const struct lifecycle *life, int32_t j,
                               const struct lifecycle_params *p) {
    const struct key_life *key = &life->keys[j];
    int32_t birth = lifecycle_birth(life, j), end = life->first_query + life->n_rows - 1;
    if (j < LIFECYCLE_SINKS || 2 * (int64_t)key->uses > end - birth)
        return KEY_SINK;
    if (end - (key->uses ? key->last : birth) < p->settle)
        return KEY_CENSORED;
    if (key->touched < 0)
        return KEY_UNUSED;
    if (!key->uses)
        return KEY_LOCAL;
    if (key->gap > p->budget || lifecycle_birth_silence(life, j) > p->budget)
        return KEY_PHOENIX;
    return key->gap > p->gap ? KEY_RECURRING : KEY_MILESTONE;
}

void head_mass_add(struct head_mass *mass, const struct lifecycle *life) {
    mass->total += life->mass;
    mass->near_by += life->near_by;
    for (int32_t j = 0; j < life->n_keys; j++) {
        enum key_class class = lifecycle_class(life, j, &life->params);
        double *part = class == KEY_SINK                                  ? &mass->sink
                       : j < life->n_prompt || class == KEY_PHOENIX       ? &mass->retrieval
                       : class == KEY_RECURRING || class == KEY_MILESTONE ? &mass->waterfall
                                                                          : NULL;
        if (part)
            *part += life->keys[j].mass;
    }
}

enum head_class head_mass_class(const struct head_mass *m) {
    double left = m->total - m->near_by - m->sink;
    if (m->near_by + m->sink >= 0.9 * m->total)
        return HEAD_STREAMING;
    if (m->waterfall >= 0.5 * left)
        return HEAD_WATERFALL;
    return m->retrieval >= 0.5 * left ? HEAD_RETRIEVAL : HEAD_DIFFUSE;
}
