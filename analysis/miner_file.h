/* The miner and files of attention (store/attn.h). What it finds is the same whether rows come from
 * the engine while it decodes or from a file later: exactly, for a file of mode lifecycle; for one
 * of mode full exactly what the streamed rows would give once rounded to half precision.
 *
 * A file of mode lifecycle has these arrays in /lives, all over (layer, head, key): int32 `first`,
 * `last`, `touched` (queries; -1 for none), `uses`, `gap`, float32 `peak`, float64 `mass`, as in
 * struct key_life; and over (layer, head, own axis), float64: `sums` (mass of all rows, of listed
 * entries, within the window) and `points`, the curves of analysis/portrait.h. Its attributes
 * `lives_params` and `lives_curves` say under which thresholds, and what a point is: JSON. */
#pragma once

#include "analysis/miner.h"
#include "store/attn.h"

/* One sequence from a file, miner_begin to miner_end: mode full where it has that, else lifecycle.
 * kv_head -1: all that was recorded; else only rows of that one KV head, by its number in the
 * model, of that layer (mode full). EXIT_USAGE where the file is of another shape of model, holds
 * neither, lacks the prompt's queries that the parameters ask for, or has lives of other
 * thresholds; EXIT_CONTENT where it is damaged. After a failure the miner is only to be closed. */
bool miner_read(struct miner *miner, struct attn_reader *reader, int layer, int kv_head,
                struct err *e);

/* Gives the lives of the miner's newest sequence, all of whose rows were told, to a file in the
 * making, for the layers and heads that it records. */
void miner_write(const struct miner *miner, struct attn_file *file,
                 const struct attn_numbers *layers, const struct attn_numbers *heads);
/* The two attributes of such a file, malloc'd. */
char *miner_params_note(const struct lifecycle_params *params);
char *miner_curves_note(void);
