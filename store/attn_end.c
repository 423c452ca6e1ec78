/* How a sequence ends: what its file will say beside attention is copied, what is still open goes
 * to the writer. */
#include <stdlib.h>
#include <string.h>

#include "store/attn_private.h"

void attn_tokens_free(struct attn_tokens *t) {
    for (int32_t i = 0; t->text && i < t->n; i++)
        free(t->text[i]);
    free(t->text);
    free(t->id);
    free(t->gold_step);
    free(t->gold_lemma);
    free(t->gold_source);
    *t = (struct attn_tokens){0};
}

void attn_file_free(struct attn_file *f) {
    for (int kind = 0; kind < KINDS; kind++) {
        free(f->kinds[kind].open);
        free(f->kinds[kind].strips);
        free(f->kinds[kind].memory);
    }
    attn_tokens_free(&f->tokens);
    for (int i = 0; i < f->n_notes; i++) {
        free((char *)f->notes[i].name);
        free((char *)f->notes[i].text);
    }
    free(f->notes);
    for (int i = 0; i < f->n_lives; i++) {
        free((char *)f->lives[i].name);
        free((void *)f->lives[i].data);
    }
    free(f->lives);
    free((char *)f->params.path);
    free(f->params.layers.items);
    free(f->params.heads.items);
    free(f->kv_heads);
    free(f->layer_slot);
    free(f->head_slot);
    free(f->kv_slot);
    free(f->raw_path);
    free(f);
}

static int32_t *copy_ints(const int32_t *from, int32_t n) {
    return from ? memcpy(must_alloc((size_t)n * sizeof *from), from, (size_t)n * sizeof *from)
                : NULL;
}

static struct attn_tokens copy_tokens(const struct attn_tokens *t) {
    struct attn_tokens copy = {.n = t->n,
                               .n_prompt = t->n_prompt,
                               .id = copy_ints(t->id, t->n),
                               .gold_step = copy_ints(t->gold_step, t->n),
                               .gold_lemma = copy_ints(t->gold_lemma, t->n),
                               .gold_source = copy_ints(t->gold_source, t->n)};
    copy.text = must_alloc((size_t)t->n * sizeof *copy.text);
    for (int32_t i = 0; i < t->n; i++)
        copy.text[i] = must_strdup(t->text[i]);
    return copy;
}

static size_t planes_of(const struct attn_file *f, int kind) {
    return (size_t)f->params.layers.n * (size_t)f->kinds[kind].n_heads;
}

/* Strips that are not full go out as they are. */
static void send_open(struct attn_file *f) {
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; f->kinds[kind].present && i < planes_of(f, kind); i++)
            if (f->kinds[kind].open[i]) {
                attn_send(f->writer, f->kinds[kind].open[i]);
                f->kinds[kind].open[i] = NULL;
            }
}

size_t attn_array_bytes(const struct attn_array *array, int layers, int heads, int32_t n_keys) {
    static const size_t items[] = {4, 4, 8};
    size_t n = (size_t)(array->n ? array->n : n_keys);
    return (size_t)layers * (size_t)heads * n * items[array->type];
}

void attn_lives(struct attn_file *f, const struct attn_array *arrays, int n, int32_t n_keys) {
    CHECK(f->params.lives && !f->lives);
    f->lives = must_zalloc((size_t)n, sizeof *f->lives);
    f->lives_keys = n_keys;
    for (f->n_lives = 0; f->n_lives < n; f->n_lives++) {
        struct attn_array copy = arrays[f->n_lives];
        size_t size = attn_array_bytes(&copy, f->params.layers.n, f->params.heads.n, n_keys);
        copy.name = must_strdup(copy.name);
        copy.data = memcpy(must_alloc(size), copy.data, size);
        f->lives[f->n_lives] = copy;
    }
}

void attn_end(struct attn_file *f, const struct attn_tokens *tokens, const struct attn_note *notes,
              int n_notes) {
    CHECK(tokens->n <= f->params.max_keys && tokens->n_prompt == f->params.n_prompt);
    CHECK(!f->params.lives || f->lives_keys == tokens->n);
    f->tokens = copy_tokens(tokens);
    f->notes = must_zalloc((size_t)n_notes, sizeof *f->notes);
    for (f->n_notes = 0; f->n_notes < n_notes; f->n_notes++) {
        const struct attn_note *note = &notes[f->n_notes];
        f->notes[f->n_notes] = (struct attn_note){
            must_strdup(note->name), note->text ? must_strdup(note->text) : NULL, note->number};
    }
    send_open(f);
    attn_finish(f->writer, f);
}

void attn_abandon(struct attn_file *f) {
    f->abandoned = true;
    send_open(f);
    attn_finish(f->writer, f);
}
