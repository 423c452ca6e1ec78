/* Merging against its definition, on small random tables of merges in which a token can come about
 * in several ways: the queue of long runs, the scan of short ones, and cuts where no merge joins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "engine/tokenizer_parts.h"

enum { LETTERS = 3, MERGES = 14, TOKENS = LETTERS + MERGES, LONGEST = 300 };

struct table {
    char texts[TOKENS][64];
    int n_texts;
    struct vocab vocab;
    struct bpe bpe;
};

static int text_id(const struct table *t, const char *text) {
    for (int i = 0; i < t->n_texts; i++)
        if (!strcmp(t->texts[i], text))
            return i;
    return -1;
}

/* Ranks are in random order, so a token may have a lower rank than its parts. The letter behind the
 * last one is unknown and becomes any token, which is then there before others merge to it. */
static void make_table(struct table *t, struct rng *rng) {
    int left[MERGES], right[MERGES], id[MERGES], n = 0;
    *t = (struct table){.n_texts = LETTERS};
    for (int i = 0; i < LETTERS; i++)
        t->texts[i][0] = (char)('a' + i);
    for (int i = 0; i < MERGES; i++) {
        char both[128];
        left[n] = (int)rng_below(rng, (uint32_t)t->n_texts);
        right[n] = (int)rng_below(rng, (uint32_t)t->n_texts);
        snprintf(both, sizeof both, "%s%s", t->texts[left[n]], t->texts[right[n]]);
        if (strlen(both) >= sizeof t->texts[0])
            continue;
        id[n] = text_id(t, both);
        if (id[n] < 0)
            strcpy(t->texts[id[n] = t->n_texts++], both);
        n++;
    }
    vocab_open(&t->vocab, t->n_texts, (size_t)t->n_texts);
    for (int i = 0; i < t->n_texts; i++)
        vocab_add(&t->vocab, i, t->texts[i]);
    bpe_open(&t->bpe, &t->vocab, MERGES);
    t->bpe.unknown = (int32_t)rng_below(rng, (uint32_t)t->n_texts);
    int turn = (int)rng_below(rng, (uint32_t)n);
    for (int i = 0; i < n; i++)
        bpe_add(&t->bpe, left[i], right[i], (i + turn) % n, id[i]);
}

static void table_free(struct table *t) {
    vocab_free(&t->vocab);
    bpe_free(&t->bpe);
}

/* The definition: the leftmost of the pairs with the lowest rank merges, until there is none. */
static size_t merge(const struct bpe *b, int32_t *ids, size_t n) {
    for (;;) {
        const struct merge *best = NULL;
        size_t place = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const struct merge *m = bpe_find(b, ids[i], ids[i + 1]);
            if (m && (!best || m->rank < best->rank)) {
                best = m;
                place = i;
            }
        }
        if (!best)
            return n;
        ids[place] = best->id;
        memmove(ids + place + 1, ids + place + 2, (--n - place - 1) * sizeof *ids);
    }
}

static void compare(const struct table *t, struct bpe_scratch *scratch, const char *text,
                    size_t size) {
    int32_t ids[LONGEST];
    struct id_list out = {0};
    struct err e = {0};
    for (size_t i = 0; i < size; i++)
        ids[i] = text[i] - 'a' < LETTERS ? text[i] - 'a' : t->bpe.unknown;
    size_t n = merge(&t->bpe, ids, size);
    assert_true(bpe_encode(&t->bpe, &t->vocab, scratch, text, size, &out, &e));
    assert_int_equal(out.count, n);
    assert_memory_equal(out.ids, ids, n * sizeof *ids);
    id_list_free(&out);
}

static void test_tokenizer_merge_equals_its_definition(void **state) {
    (void)state;
    struct rng rng = {.key = 20};
    for (int i = 0; i < 4000; i++) {
        struct table t;
        struct bpe_scratch scratch = {0};
        make_table(&t, &rng);
        if (i % 2)
            bpe_seal(&t.bpe, &t.vocab);
        for (int k = 0; k < 6; k++) {
            char text[LONGEST];
            size_t size = 1 + rng_below(&rng, k % 2 ? LONGEST : 30);
            uint32_t letters = 1 + rng_below(&rng, LETTERS + 1);
            for (size_t c = 0; c < size; c++)
                text[c] = (char)('a' + rng_below(&rng, letters));
            compare(&t, &scratch, text, size);
        }
        bpe_scratch_free(&scratch);
        table_free(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_merge_equals_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
