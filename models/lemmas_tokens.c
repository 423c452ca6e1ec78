/* Problems of the lemmas generator as token rows, for training: compiled by lemmas_data.py into a shared library.
 * Needs a vocabulary in which every word (with its leading space), digit, sign and newline of the generator's
 * text is one token, so that tokenising is cutting and looking up; anything else is refused, never guessed. */
#include <stdlib.h>
#include <string.h>

#include "datasets/dataset.h"
#include "datasets/lemmas.h"

extern const struct dataset dataset_lemmas;

#define SLOTS 8192 /* power of two, many times the vocabulary */

struct vocabulary {
    struct entry {
        const char *text; /* NULL: free */
        uint32_t size;
        int32_t id;
    } slots[SLOTS];
};

static uint32_t hash_of(const char *text, size_t size) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h;
}

static struct entry *find(struct vocabulary *v, const char *text, size_t size) {
    for (uint32_t h = hash_of(text, size);; h++) {
        struct entry *e = &v->slots[h % SLOTS];
        if (!e->text || (e->size == size && !memcmp(e->text, text, size)))
            return e;
    }
}

/* n texts, borrowed for the life of the result; text number i is token i (size 0: unused). */
struct vocabulary *tokens_open(const char *const *texts, const uint32_t *sizes, int n) {
    CHECK(n < SLOTS / 2);
    struct vocabulary *v = must_zalloc(1, sizeof *v);
    for (int i = 0; i < n; i++)
        if (sizes[i] > 0)
            *find(v, texts[i], sizes[i]) = (struct entry){texts[i], sizes[i], i};
    return v;
}

static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Appends the ids of text to row; returns the new count, -1 where a piece is no single token or no room is left. */
static int append(struct vocabulary *v, const char *text, uint16_t *row, int count, int width) {
    for (const char *from = text, *to; *from; from = to) {
        to = from + (*from == ' ');
        if (is_letter(*to))
            while (is_letter(*to))
                to++;
        else if (is_digit(*to) || to == from)
            to++;
        const struct entry *e = find(v, from, (size_t)(to - from));
        if (!e->text || count == width)
            return -1;
        row[count++] = (uint16_t)e->id;
    }
    return count;
}

/* Row r of ids [rows, width] becomes problem index[r] of params[r]: prompt, solution, the end token 0, zeros.
 * prompt[r] and total[r] count tokens, the end token included. Returns the number of the first row that does
 * not fit or does not tokenise, or -1 when all is well. */
int tokens_fill(struct vocabulary *v, const struct lemmas_param *params, const int64_t *index, int rows, int width,
                uint16_t *ids, int32_t *prompt, int32_t *total) {
    memset(ids, 0, (size_t)rows * (size_t)width * sizeof *ids);
    for (int r = 0; r < rows; r++) {
        struct problem p;
        uint16_t *row = ids + (size_t)r * (size_t)width;
        if (!dataset_lemmas.get(&params[r], index[r], &p, NULL))
            return r;
        prompt[r] = append(v, p.prompt, row, 0, width - 1);
        total[r] = prompt[r] < 0 ? -1 : append(v, p.solution, row, prompt[r], width - 1);
        problem_free(&p);
        if (total[r] < 0)
            return r;
        total[r]++;
    }
    return -1;
}
