#include "tests/attn_feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static int32_t all_layers[] = {0, 1}, all_heads[] = {0, 1, 2, 3}, ids[FEED_MOST];
char *feed_texts[FEED_MOST];

const struct attn_note feed_notes[3] = {
    {"policy", "some", 0}, {"budget", NULL, 64}, {"softmax_scale", NULL, 0.125}};

struct attn_params feed_params(const char *path, int n_prompt, int max_keys) {
    for (int i = 0; i < FEED_MOST; i++) {
        ids[i] = i % 61;
        feed_texts[i] = i % 2 ? "\xc3\xa9t" : "a";
    }
    return (struct attn_params){.path = path,
                                .full = true,
                                .pooled = true,
                                .residency = true,
                                .n_layers = FEED_LAYERS,
                                .n_heads = FEED_HEADS,
                                .n_kv_heads = FEED_KV,
                                .layers = {FEED_LAYERS, all_layers},
                                .heads = {FEED_HEADS, all_heads},
                                .n_prompt = n_prompt,
                                .max_keys = max_keys};
}

struct attn_writer *feed_writer(void) {
    struct err e = {0};
    struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
    if (!writer)
        fail_msg("%s", e.text);
    return writer;
}

void feed_close(struct attn_writer *writer) {
    struct err e = {0};
    if (!attn_writer_close(writer, NULL, &e))
        fail_msg("%s", e.text);
}

struct attn_reader *feed_open(const char *path) {
    struct err e = {0};
    struct attn_reader *reader = attn_open(path, &e);
    if (!reader)
        fail_msg("%s", e.text);
    return reader;
}

struct attn_file *feed_begin(struct attn_writer *writer, const struct attn_params *params) {
    struct err e = {0};
    struct attn_file *file = attn_begin(writer, params, &e);
    if (!file)
        fail_msg("%s", e.text);
    return file;
}

void feed_rows(struct attn_file *file, int from, int to) {
    int32_t position[FEED_MOST];
    float prob[FEED_GROUP * FEED_MOST];
    for (int q = from; q < to; q++)
        for (int l = 0; l < FEED_LAYERS; l++)
            for (int kv = 0; kv < FEED_KV; kv++) {
                for (int i = 0; i <= q; i++)
                    position[i] = i, prob[i] = prob[i + q + 1] = 1 / (float)(q + 1);
                attn_watch(file, &(struct attention_row){.layer = l,
                                                         .kv_head = kv,
                                                         .group = FEED_GROUP,
                                                         .query = q,
                                                         .n = q + 1,
                                                         .position = position,
                                                         .prob = prob,
                                                         .n_resident = q + 1,
                                                         .resident = position});
            }
}

void feed_end(struct attn_file *file, int n_prompt, int total) {
    attn_end(file,
             &(struct attn_tokens){.n = total, .n_prompt = n_prompt, .id = ids, .text = feed_texts},
             feed_notes, 3);
}
