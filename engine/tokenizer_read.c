/* tokenizer.json into a struct tokenizer. What is not understood is refused by name: a component
 * passed over in silence would give other ids. Truncation and padding are left aside: they belong
 * to a caller's batch. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/tokenizer_read.h"

#define FILE_MAX ((size_t)256 << 20)

/* --- vocabulary and added tokens -------------------------------------------------------- */

/* Highest id and number of tokens of both lists, with the form of every entry checked. */
static bool measure(struct reader *r, const struct json *vocab, const struct json *added,
                    int *count, size_t *n_tokens) {
    int64_t id, top = -1;
    *n_tokens = 0;
    for (const struct json *v = json_first(vocab); v; v = json_next(v), ++*n_tokens) {
        if (!read_id(r, v, "model.vocab", json_key(v), &id))
            return false;
        top = id > top ? id : top;
    }
    size_t index = 0;
    for (const struct json *a = json_first(added); a; a = json_next(a), ++*n_tokens, index++) {
        const struct json *content = json_get(a, "content");
        const char *text = content ? json_text(content) : NULL;
        if (!text || strlen(text) > 65535)
            return FAIL(r, "%s: added_tokens[%zu].content: expected a text of at most 65535 bytes",
                        r->name, index);
        if (!read_id(r, json_get(a, "id"), "added_tokens", text, &id))
            return false;
        top = id > top ? id : top;
    }
    *count = (int)top + 1;
    return true;
}

static bool read_vocab(struct reader *r, const struct json *vocab) {
    struct vocab *v = &r->t->vocab;
    for (const struct json *token = json_first(vocab); token; token = json_next(token)) {
        double id = 0;
        json_number(token, &id);
        if (v->pieces[(int)id].known)
            return FAIL(r, "%s: model.vocab: id %d stands for '%.60s' and for another token",
                        r->name, (int)id, json_key(token));
        vocab_add(v, (int32_t)id, json_key(token));
    }
    return true;
}

/* Enters the token under its id, unless the vocabulary has it there. */
static bool enter_added(struct reader *r, const char *place, const char *text, int32_t id,
                        bool special) {
    struct vocab *v = &r->t->vocab;
    int32_t known = vocab_find(v, text);
    if (known >= 0 && known != id)
        return FAIL(r, "%s: %s: '%.60s' has id %d here and %d elsewhere", r->name, place, text, id,
                    known);
    if (known < 0 && v->pieces[id].known)
        return FAIL(r, "%s: %s: id %d of '%.60s' belongs to another token", r->name, place, id,
                    text);
    if (known < 0)
        vocab_add(v, id, text);
    v->pieces[id].special = special;
    return true;
}

static bool read_added_one(struct reader *r, const struct json *a, size_t index) {
    char place[40];
    snprintf(place, sizeof place, "added_tokens[%zu]", index);
    double id = 0;
    json_number(json_get(a, "id"), &id);
    struct added token = {.id = (int32_t)id};
    bool special, normalized;
    if (!read_flag(r, a, "special", place, &special) ||
        !read_flag(r, a, "normalized", place, &normalized) ||
        !read_flag(r, a, "single_word", place, &token.single_word) ||
        !read_flag(r, a, "lstrip", place, &token.left_strip) ||
        !read_flag(r, a, "rstrip", place, &token.right_strip))
        return false;
    const char *text = json_text(json_get(a, "content"));
    /* such a token is looked for, and also decoded, in its normal form */
    char *normal = NULL;
    if (normalized && !normal_text(r->t, text, strlen(text), &normal, &token.size, r->e))
        return false;
    token.text = normal ? strndup(normal, token.size) : must_strdup(text);
    CHECK(token.text);
    free(normal);
    token.size = strlen(token.text);
    /* the library knows special tokens by the spelling that the file has */
    special = special && !strcmp(token.text, text);
    bool ok = enter_added(r, place, token.text, token.id, special);
    if (ok && token.size)
        added_put(normalized ? &r->t->normalized : &r->t->exact, token);
    else
        free(token.text);
    return ok;
}

/* --- model ------------------------------------------------------------------------------- */

/* Both spellings of a merge: "left right" and ["left", "right"]. *left is malloc'd. */
static bool merge_parts(const struct json *merge, char **left, const char **right) {
    const char *text = json_text(merge);
    if (text) {
        const char *space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        *left = strndup(text, (size_t)(space - text));
        CHECK(*left);
        *right = space + 1;
        return true;
    }
    const struct json *first = json_type(merge) == JSON_ARRAY ? json_first(merge) : NULL;
    const struct json *second = first ? json_next(first) : NULL;
    if (!second || json_next(second) || !json_text(first) || !json_text(second))
        return false;
    *left = must_strdup(json_text(first));
    *right = json_text(second);
    return true;
}

static bool read_merge(struct reader *r, const struct json *merge, int32_t rank) {
    char *left;
    const char *right;
    if (!merge_parts(merge, &left, &right))
        return FAIL(r, "%s: model.merges[%d]: expected \"left right\" or [\"left\", \"right\"]",
                    r->name, rank);
    const struct vocab *v = &r->t->vocab;
    size_t n = strlen(left), m = strlen(right);
    char *both = must_alloc(n + m + 1);
    memcpy(both, left, n);
    memcpy(both + n, right, m + 1);
    int32_t ids[3] = {vocab_find(v, left), vocab_find(v, right), vocab_find(v, both)};
    const char *texts[3] = {left, right, both};
    bool ok = true;
    for (int i = 0; i < 3 && ok; i++)
        if (ids[i] < 0)
            ok = FAIL(r, "%s: model.merges[%d]: '%.60s' is not in the vocabulary", r->name, rank,
                      texts[i]);
    if (ok)
        bpe_add(&r->t->bpe, ids[0], ids[1], rank, ids[2]);
    free(both);
    free(left);
    return ok;
}

static bool read_unknown(struct reader *r, const struct json *model) {
    r->t->bpe.unknown = -1;
    const struct json *unknown = json_get(model, "unk_token");
    if (!absent(unknown)) {
        const char *text = json_text(unknown);
        r->t->bpe.unknown = text ? vocab_find(&r->t->vocab, text) : -1;
        if (r->t->bpe.unknown < 0)
            return FAIL(r, "%s: model.unk_token: expected a token of the vocabulary", r->name);
    }
    return read_option(r, model, "fuse_unk", "model", &r->t->bpe.fuse_unknown);
}

/* Settings that would change the ids in ways this reader does not know. */
static bool check_model(struct reader *r, const struct json *model) {
    const struct json *type = json_get(model, "type");
    if (absent(type) || !json_text(type) || strcmp(json_text(type), "BPE") != 0)
        return FAIL(r, "%s: model.type: expected \"BPE\"", r->name);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const struct json *affix = json_get(model, affixes[i]);
        if (!absent(affix) && (!json_text(affix) || *json_text(affix)))
            return FAIL(r, "%s: model.%s: only null and \"\" are supported", r->name, affixes[i]);
    }
    const struct json *dropout = json_get(model, "dropout");
    double chance = 0;
    if (!absent(dropout) && (!json_number(dropout, &chance) || chance != 0))
        return FAIL(r, "%s: model.dropout: only null and 0 are supported", r->name);
    if (!read_option(r, model, "byte_fallback", "model", &r->t->bpe.fallback))
        return false;
    return !r->t->bpe.fallback || !r->byte_level ||
           FAIL(r, "%s: model.byte_fallback: expected false behind ByteLevel", r->name);
}

static bool read_model(struct reader *r, const struct json *model, const struct json *added) {
    const struct json *vocab = json_get(model, "vocab"), *merges = json_get(model, "merges");
    if (!vocab || json_type(vocab) != JSON_OBJECT || !json_first(vocab))
        return FAIL(r, "%s: model.vocab: expected an object of token: id", r->name);
    if (!merges || json_type(merges) != JSON_ARRAY)
        return FAIL(r, "%s: model.merges: expected a list", r->name);
    int count = 0;
    size_t n_tokens;
    if (!measure(r, vocab, added, &count, &n_tokens))
        return false;
    vocab_open(&r->t->vocab, count, n_tokens);
    if (!read_vocab(r, vocab))
        return false;
    bpe_open(&r->t->bpe, &r->t->vocab, json_count(merges));
    int32_t rank = 0;
    for (const struct json *m = json_first(merges); m; m = json_next(m), rank++)
        if (!read_merge(r, m, rank))
            return false;
    bpe_seal(&r->t->bpe, &r->t->vocab);
    return read_unknown(r, model) &&
           read_option(r, model, "ignore_merges", "model", &r->t->bpe.whole_first);
}

/* --- the file -------------------------------------------------------------------------------- */

static bool read_all(struct reader *r, const struct json *root) {
    const struct json *model = json_get(root, "model"), *added = json_get(root, "added_tokens");
    if (absent(model) || json_type(model) != JSON_OBJECT)
        return FAIL(r, "%s: expected an object with a \"model\"", r->name);
    if (!absent(added) && json_type(added) != JSON_ARRAY)
        return FAIL(r, "%s: added_tokens: expected a list", r->name);
    if (!read_front(r, root) || !check_model(r, model) || !read_model(r, model, added))
        return false;
    size_t index = 0;
    for (const struct json *a = json_first(added); a; a = json_next(a), index++)
        if (!read_added_one(r, a, index))
            return false;
    return read_back(r, root);
}

static struct tokenizer *from_doc(struct json_doc *doc, const char *name, struct err *e) {
    if (!doc)
        return NULL;
    struct tokenizer *t = must_zalloc(1, sizeof *t);
    t->name = must_strdup(name);
    struct reader r = {.t = t, .name = name, .e = e};
    bool ok = read_all(&r, json_root(doc));
    json_free(doc);
    if (ok)
        return t;
    tokenizer_free(t);
    return NULL;
}

struct tokenizer *tokenizer_parse(const char *json, size_t size, const char *name, struct err *e) {
    return from_doc(json_parse(json, size, name, e), name, e);
}

struct tokenizer *tokenizer_read(const char *path, struct err *e) {
    return from_doc(json_read(path, FILE_MAX, e), path, e);
}

void tokenizer_free(struct tokenizer *t) {
    if (!t)
        return;
    free(t->name);
    vocab_free(&t->vocab);
    bpe_free(&t->bpe);
    for (int i = 0; i < t->n_steps; i++)
        split_free(&t->steps[i]);
    normal_free(t);
    decode_free(t);
    added_free(&t->exact);
    added_free(&t->normalized);
    id_list_free(&t->prefix);
    id_list_free(&t->suffix);
    free(t);
}
