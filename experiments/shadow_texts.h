/* Where the texts of a shadow run come from: stored answers of a run, lines of a file, or a
 * dataset's own solutions. */
#pragma once

#include "base/id_list.h"
#include "datasets/dataset.h"
#include "engine/chat.h"
#include "experiments/shadow.h"
#include "store/db.h"

struct shadow_origin {      /* where a text comes from; owned */
    char *dataset, *sample; /* names; of lines without them: the file's name, "line 3" */
};
struct shadow_texts {
    const struct model *model; /* borrowed, as chat */
    const struct chat *chat;
    const char *source;            /* "gold", "answers" or "lines" */
    struct shadow_text *texts;     /* [n] */
    struct shadow_origin *origins; /* [n] */
    int n, room;
    int longest; /* tokens of a text */
};
void shadow_texts_free(struct shadow_texts *t);

/* Each of these adds at most `limit` texts (0: all). Prompts go through the chat template. A text
 * longer than the model's positions, or without a generated id, is an error (EXIT_CONTENT). */

/* Problems of a dataset with their gold solutions, encoded behind the prompt; EXIT_USAGE for a
 * dataset without any. */
bool shadow_texts_gold(struct shadow_texts *t, const struct dataset_choice *from, int64_t limit,
                       struct err *e);
/* Lines {"prompt": TEXT, "ids": [...]}, {"prompt_ids": [...], "ids": [...]}, or, with a dataset,
 * {"index": N, "ids": [...]}: the prompt of its problem number N. Where a line says prompt_tokens,
 * the prompt must have as many. from: NULL for none. */
bool shadow_texts_lines(struct shadow_texts *t, const char *path, const struct dataset_choice *from,
                        int64_t limit, struct err *e);
/* Answers of a run under full attention, with the prompts they had; EXIT_CONTENT where there is
 * none, or a prompt has not as many tokens as it had. */
bool shadow_texts_run(struct shadow_texts *t, struct db *db, int64_t run, int64_t limit,
                      struct err *e);
