#include "experiments/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

char *cell_config(const struct experiment *x, const struct experiment_cell *cell,
                  const struct cell_identity *identity) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_text(&o, "backend", x->backend);
    json_add_text(&o, "dataset", x->datasets[cell->dataset].name);
    if (identity) {
        json_add_text(&o, "dataset_sha256", identity->dataset_sha256);
        json_add_text(&o, "isa", identity->isa);
    }
    json_add_int(&o, "max_new", cell->max_new);
    if (identity)
        json_add_text(&o, "model_sha256", identity->model_sha256);
    json_add_raw(&o, "policy", cell->plan.json);
    json_add_text(&o, "precision", precision_name(x->precision));
    if (identity)
        json_add_text(&o, "prompt_variant", identity->prompt_variant);
    json_add_int(&o, "result_version", RESULT_VERSION);
    json_add_int(&o, "seed", cell->seed);
    json_add_bool(&o, "stop_loops", x->stop_loops);
    json_add_real(&o, "temperature", cell->temperature);
    if (identity) {
        json_add_text(&o, "template_sha256", identity->template_sha256);
        if (identity->isolated)
            json_add_text(&o, "timing", "isolated");
        json_add_text(&o, "tokenizer_sha256", identity->tokenizer_sha256);
    }
    json_add_real(&o, "top_p", cell->top_p);
    if (identity && identity->isolated)
        json_add_int(&o, "width", x->width);
    json_close(&o, '}');
    return o.text;
}

int job_shard(const char *plan_config, const char *sample, int repeat, int n_shards) {
    struct json_out o = {0};
    json_open(&o, '[');
    json_put_raw(&o, plan_config);
    json_put_text(&o, sample);
    json_put_int(&o, repeat);
    json_close(&o, ']');
    char hex[HASH_HEX];
    hash_bytes(o.text, o.size, hex);
    free(o.text);
    hex[8] = 0;
    return (int)(strtoul(hex, NULL, 16) % (unsigned long)n_shards);
}
