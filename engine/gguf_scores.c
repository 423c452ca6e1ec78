/* SentencePiece's BPE joins the neighbours whose token has the best score. A tokenizer.json says
 * the same by merges: every way to put a token together out of two others, in the order of scores.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/gguf_vocab.h"

/* Several times what the largest vocabularies have; more would be work without end. */
enum { MAX_TOKENS = 1 << 19, MAX_PART = 256, MAX_JOINS = 1 << 22 };

/* One way to put a token together: of its first `cut` bytes and the others. */
struct join {
    struct gguf_text token;
    size_t cut;
    float score;
    int32_t left, right;         /* ids */
    int left_width, right_width; /* in characters */
};

/* Best score first, then the longer left and right part; the rest as transformers' stable sort
 * leaves it: tokens by id, then their parts by id. */
static int by_rank(const void *a, const void *b) {
    const struct join *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_width != y->left_width)
        return y->left_width - x->left_width;
    if (x->right_width != y->right_width)
        return y->right_width - x->right_width;
    if (x->token.bytes != y->token.bytes)
        return x->token.bytes < y->token.bytes ? -1 : 1;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

struct joins {
    struct join *items;
    size_t count, room;
};

static int characters(const char *bytes, size_t size) {
    int n = 0;
    for (size_t i = 0; i < size; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static bool add_joins(const struct gguf_vocab *v, uint64_t id, struct joins *joins) {
    struct gguf_text text = v->texts[id];
    for (size_t cut = utf8_width(text.bytes, text.size); cut < text.size;
         cut += utf8_width(text.bytes + cut, text.size - cut)) {
        const struct gguf_token *left = gguf_vocab_find(v, text.bytes, cut);
        const struct gguf_token *right =
            left ? gguf_vocab_find(v, text.bytes + cut, text.size - cut) : NULL;
        if (!right)
            continue;
        if (joins->count == MAX_JOINS)
            return false;
        if (joins->count == joins->room) {
            joins->room = joins->room ? 2 * joins->room : 1024;
            joins->items = must_realloc(joins->items, joins->room * sizeof *joins->items);
        }
        joins->items[joins->count++] =
            (struct join){.token = text,
                          .cut = cut,
                          .score = gguf_real_at(v->scores, id),
                          .left = left->id,
                          .right = right->id,
                          .left_width = characters(text.bytes, cut),
                          .right_width = characters(text.bytes + cut, text.size - cut)};
    }
    return true;
}

/* All joins of a vocabulary, best first; free(items). */
static bool find_joins(const struct gguf *g, const struct gguf_vocab *v, struct joins *joins,
                       struct err *e) {
    static const char scores[] = "tokenizer.ggml.scores", tokens[] = "tokenizer.ggml.tokens";
    if (v->count > MAX_TOKENS)
        return gguf_wrong(g, tokens, "at most 524288 tokens with scores", e);
    bool ok = true;
    for (uint64_t i = 0; ok && i < v->count; i++) {
        int type = gguf_token_type(v, i);
        float score = gguf_real_at(v->scores, i);
        if (type != GGUF_TOKEN_NORMAL && type != GGUF_TOKEN_USER)
            continue;
        if (!isfinite(score))
            ok = err_set(e, EXIT_CONTENT,
                         "%s: key '%s': item %" PRIu64 " is %g: expected a finite number", g->path,
                         scores, i, (double)score);
        else if (v->texts[i].size > MAX_PART)
            ok = gguf_wrong(g, tokens, "tokens with scores of at most 256 bytes", e);
        else if (!add_joins(v, i, joins))
            ok = gguf_wrong(g, tokens, "at most 4194304 ways to join tokens", e);
    }
    if (joins->count)
        qsort(joins->items, joins->count, sizeof *joins->items, by_rank);
    return ok;
}

bool gguf_merges_of_scores(const struct gguf *gguf, const struct gguf_vocab *vocab,
                           struct json_out *out, struct err *e) {
    struct joins joins = {0};
    bool ok = find_joins(gguf, vocab, &joins, e);
    json_open(out, '[');
    for (size_t i = 0; ok && i < joins.count; i++) {
        const struct join *j = &joins.items[i];
        json_open(out, '[');
        json_put_bytes(out, j->token.bytes, j->cut);
        json_put_bytes(out, j->token.bytes + j->cut, j->token.size - j->cut);
        json_close(out, ']');
    }
    json_close(out, ']');
    free(joins.items);
    return ok;
}
