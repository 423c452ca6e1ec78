/* What tests of recorded attention share: parameters of the default tiny model's shape, rows
 * without a model, and calls that must succeed. */
#pragma once

#include "store/attn.h"

enum { FEED_LAYERS = 2, FEED_HEADS = 4, FEED_KV = 2, FEED_GROUP = 2, FEED_MOST = 1110 };

/* Modes full and pooled, residency, all heads. The path is borrowed. */
struct attn_params feed_params(const char *path, int n_prompt, int max_keys);
extern const struct attn_note feed_notes[3]; /* policy "some", budget 64, softmax_scale 0.125 */
extern char *feed_texts[FEED_MOST];

struct attn_writer *feed_writer(void);
void feed_close(struct attn_writer *writer);
struct attn_file *feed_begin(struct attn_writer *writer, const struct attn_params *params);
struct attn_reader *feed_open(const char *path);

/* Queries [from, to) of every layer and KV head, all of uniform attention. */
void feed_rows(struct attn_file *file, int from, int to);
void feed_end(struct attn_file *file, int n_prompt, int total);
