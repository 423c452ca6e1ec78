#include "datasets/grade_strict.h"

#include <ctype.h>
#include <string.h>

#include "datasets/grade_extract.h"
#include "datasets/grade_same.h"
#include "datasets/grade_text.h"

struct reading {
    struct tree tree;
    const struct node *node; /* NULL: not understood */
};

static void read(struct reading *r, struct slice s, int how) {
    r->node = tree_parse(&r->tree, s.text, s.size, how);
}

/* A full stop or comma at the end belongs to the sentence around the answer. */
static struct slice tidy(struct slice s) {
    s = slice_trim(s);
    while (s.size && strchr(".,;", s.text[s.size - 1]) &&
           !(s.size > 1 && s.text[s.size - 2] == '.'))
        s = slice_trim((struct slice){s.text, s.size - 1});
    return s;
}

static bool same_text(struct slice a, struct slice b) {
    char x[1024], y[1024];
    return text_plain(a.text, a.size, x, sizeof x) && text_plain(b.text, b.size, y, sizeof y) &&
           *x && !strcmp(x, y);
}

static bool has_word(struct slice s) {
    for (size_t i = 0; i + 1 < s.size; i++)
        if (isalpha((unsigned char)s.text[i]) && isalpha((unsigned char)s.text[i + 1]))
            return true;
    return false;
}

/* Whether an answer is more than letters and words, so that comparing values decides. */
static bool holds_value(const struct node *node) {
    if (node->kind != NODE_NAME && node->kind != NODE_PRODUCT && node->kind != NODE_LIST &&
        node->kind != NODE_E && node->kind != NODE_I)
        return true;
    for (const struct node *c = node->first; c; c = c->next)
        if (holds_value(c))
            return true;
    return false;
}

static bool same_readings(const struct reading *a, const struct reading *b, int64_t *left) {
    return a->node && b->node && same_answers(part_of(a->node), part_of(b->node), left);
}

/* 1,234 may be one number or two items; any common reading will do. *decided: what the words are
 * says no more. */
static bool same_meaning(struct slice a, struct slice b, bool *decided) {
    struct reading x, y, other;
    int64_t left = VALUE_STEPS;
    read(&x, a, 0);
    read(&y, b, 0);
    bool wordy = x.tree.wordy || y.tree.wordy;
    *decided = x.node && y.node ? !wordy || holds_value(x.node) || holds_value(y.node)
                                : !wordy && !(has_word(a) && has_word(b));
    bool first = x.tree.ambiguous, second = y.tree.ambiguous;
    if (same_readings(&x, &y, &left))
        return true;
    if (first) {
        read(&other, a, READ_ITEMS);
        if (same_readings(&other, &y, &left))
            return true;
    }
    if (!second)
        return false;
    read(&y, b, READ_ITEMS);
    return same_readings(&x, &y, &left) || (first && same_readings(&other, &y, &left));
}

bool strict_equal(const char *a, size_t a_size, const char *b, size_t b_size) {
    struct slice x = tidy((struct slice){a, a_size}), y = tidy((struct slice){b, b_size});
    if (!x.size)
        x = slice_trim((struct slice){a, a_size});
    if (!y.size)
        y = slice_trim((struct slice){b, b_size});
    if (!x.size || !y.size)
        return false;
    if (x.size == y.size && !memcmp(x.text, y.text, x.size))
        return true;
    bool marked_x, marked_y, decided;
    char choice_x = text_choice(x.text, x.size, &marked_x),
         choice_y = text_choice(y.text, y.size, &marked_y);
    if (choice_x && choice_y && (marked_x || marked_y))
        return choice_x == choice_y;
    return same_meaning(x, y, &decided) || (!decided && same_text(x, y));
}
