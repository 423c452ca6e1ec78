#include "experiments/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void put_text(struct json_out *o, const char *key, const char *text) {
    json_name(o, key);
    if (text)
        json_put_text(o, text);
    else
        json_put_null(o);
}

char *cell_config(const struct experiment *x, const struct experiment_cell *cell,
                  const struct cell_identity *identity) {
    struct json_out o = {0};
    json_open(&o, '{');
    put_text(&o, "backend", x->backend);
    put_text(&o, "dataset", x->datasets[cell->dataset].name);
    if (identity) {
        put_text(&o, "dataset_sha256", identity->dataset_sha256);
        put_text(&o, "isa", identity->isa);
    }
    json_name(&o, "max_new"), json_put_int(&o, cell->max_new);
    if (identity)
        put_text(&o, "model_sha256", identity->model_sha256);
    json_name(&o, "policy"), json_put_raw(&o, cell->plan.json);
    put_text(&o, "precision", precision_name(x->precision));
    if (identity)
        put_text(&o, "prompt_variant", identity->prompt_variant);
    json_name(&o, "result_version"), json_put_int(&o, RESULT_VERSION);
    json_name(&o, "seed"), json_put_int(&o, cell->seed);
    json_name(&o, "stop_loops"), json_put_bool(&o, x->stop_loops);
    json_name(&o, "temperature"), json_put_real(&o, cell->temperature);
    if (identity) {
        put_text(&o, "template_sha256", identity->template_sha256);
        if (identity->isolated)
            put_text(&o, "timing", "isolated");
        put_text(&o, "tokenizer_sha256", identity->tokenizer_sha256);
    }
    json_name(&o, "top_p"), json_put_real(&o, cell->top_p);
    if (identity && identity->isolated)
        json_name(&o, "width"), json_put_int(&o, x->width);
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
