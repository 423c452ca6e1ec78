#include "datasets/grade_mv.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "datasets/grade_mv_parts.h"

/* What parse() returns: a tree, if any match could be read, and the first match's text. */
struct parsed {
    struct tree *tree[MV_ITEMS]; /* owned */
    int n_trees;
    struct node root, mark[MV_ITEMS]; /* a list of them; percent signs around them */
    const struct node *node;          /* NULL: none could be read */
    char string[MV_ROOM];
    bool has_string;
    struct slice extracted; /* of the source */
    enum grade_path path;
};

static void parsed_clear(struct parsed *p) {
    for (int i = 0; i < p->n_trees; i++)
        free(p->tree[i]);
    p->n_trees = 0;
}

static void keep_string(struct parsed *p, const char *s, size_t n) {
    if (p->has_string || !n)
        return;
    memcpy(p->string, s, n);
    p->string[n] = 0;
    p->has_string = true;
}

/* --- one item --------------------------------------------------------------------------------- */

static struct node *read_item(struct parsed *p, const char *s, size_t n, bool percent) {
    struct tree *tree = p->tree[p->n_trees] = must_alloc(sizeof *tree);
    struct node *mark = &p->mark[p->n_trees++];
    struct node *node = tree_parse(tree, s, n, READ_LIBRARY);
    if (!node || !percent)
        return node;
    *mark = (struct node){
        .kind = NODE_UNIT, .op = '%', .string = "percent", .first = node, .last = node, .n = 1};
    return mark;
}

/* "1,234.5" without its commas; "123,45" with a point. */
static size_t plain_number(struct slice s, char out[MV_ROOM]) {
    size_t n = 0, digits = 0;
    bool groups = true, first = true;
    for (size_t i = 0; i <= s.size && i < MV_ROOM - 1; i++) {
        bool digit = i < s.size && isdigit((unsigned char)s.text[i]);
        if (digit) {
            digits++;
        } else if (i == s.size || s.text[i] == ',' || s.text[i] == ' ' || s.text[i] == '.') {
            groups &= first ? digits <= 3 : digits == 3;
            first = false;
            digits = 0;
            if (i < s.size && s.text[i] == '.')
                break;
        }
    }
    for (size_t i = 0; i < s.size && i < MV_ROOM - 1; i++)
        if (!strchr(", ", s.text[i]) || !groups)
            out[n++] = s.text[i] == ',' ? '.' : s.text[i];
    return n;
}

static bool is_number(struct slice s) {
    for (size_t i = 0; i < s.size; i++)
        if (!isdigit((unsigned char)s.text[i]) && !strchr("-., ", s.text[i]))
            return false;
    return true;
}

/* --- one match -------------------------------------------------------------------------------- */

static bool has_box(struct slice s) { return memmem(s.text, s.size, "\\boxed{", 7) != NULL; }

static void note_path(struct parsed *p, const struct mv_match *match) {
    bool box = match->kind != MV_NUMBER && has_box(match->item[0]);
    p->extracted = match->item[0];
    p->path = box                        ? PATH_BOX
              : match->priority < 300    ? PATH_PHRASE
              : match->kind == MV_NUMBER ? PATH_LAST_NUMBER
                                         : PATH_FORMULA;
}

/* Several formulas are a set of what all of them hold. */
static void gather(struct parsed *p, struct node *item) {
    struct node *child = item->kind == NODE_LIST || item->kind == NODE_SET ? item->first : item;
    while (child) {
        struct node *next = child == item ? NULL : child->next;
        child->next = NULL;
        if (p->root.last)
            p->root.last->next = child;
        else
            p->root.first = child;
        p->root.last = child;
        p->root.n++;
        child = next;
    }
}

static bool take(void *context, const struct mv_match *match) {
    struct parsed *p = context;
    char text[MV_ROOM];
    struct node *only = NULL;
    bool all = true;
    p->root = (struct node){.kind = NODE_SET, .string = ""};
    parsed_clear(p);
    for (int i = 0; i < match->n; i++) {
        bool number = match->kind == MV_NUMBER;
        bool plain = number && is_number(match->item[i]);
        size_t n = plain    ? plain_number(match->item[i], text)
                   : number ? mv_clean(match->item[i], false, text)
                            : mv_clean(match->item[i], match->kind == MV_BOX, text);
        if (i == 0)
            keep_string(p, text, n);
        struct node *node = read_item(p, text, n, match->percent[i]);
        all &= node != NULL;
        only = i == 0 ? node : only;
        if (node && match->n > 1)
            gather(p, node);
    }
    p->node = match->n > 1 && all ? &p->root : only;
    if (p->node || p->path == PATH_NONE)
        note_path(p, match);
    return p->node != NULL;
}

/* --- two texts -------------------------------------------------------------------------------- */

static void parse(struct slice text, struct parsed *p) {
    *p = (struct parsed){.path = PATH_NONE, .extracted = {text.text, 0}};
    mv_search(text, take, p);
}

static bool agree(const struct parsed *gold, const struct parsed *answer) {
    int64_t left = VALUE_STEPS;
    if (gold->has_string && answer->has_string && !strcmp(gold->string, answer->string))
        return true;
    return gold->node && answer->node && mv_same(gold->node, answer->node, &left);
}

/* "$text$", as UTF-8. */
static char *in_dollars(const char *text, size_t size, size_t *n) {
    char *out = must_alloc(3 * size + 3);
    *out = '$';
    *n = utf8_mend(text, size, out + 1) + 1;
    out[(*n)++] = '$';
    return out;
}

bool mv_equal(const char *gold, size_t gold_size, const char *answer, size_t answer_size) {
    struct parsed x, y;
    size_t n, m;
    char *a = in_dollars(gold, gold_size, &n), *b = in_dollars(answer, answer_size, &m);
    parse((struct slice){a, n}, &x);
    parse((struct slice){b, m}, &y);
    bool equal = agree(&x, &y);
    parsed_clear(&x);
    parsed_clear(&y);
    free(a);
    free(b);
    return equal;
}

/* What was extracted, in found's own room: the text searched is gone afterwards. */
static void report(const struct parsed *p, struct slice text, struct found *found) {
    *found = (struct found){.path = p->path, .answer = {text.text, 0}};
    size_t n = p->has_string ? strlen(p->string) : p->extracted.size;
    n = n < FOUND_ROOM ? n : FOUND_ROOM;
    memcpy(found->joined, p->has_string ? p->string : p->extracted.text, n);
    found->answer = (struct slice){found->joined, n};
}

bool mv_grade(const char *gold, struct slice text, struct found *found) {
    struct parsed x, y;
    size_t n;
    char *a = in_dollars(gold, strlen(gold), &n);
    char *b = must_alloc(3 * text.size + 1);
    size_t m = utf8_mend(text.text, text.size, b);
    parse((struct slice){a, n}, &x);
    parse((struct slice){b, m}, &y);
    bool equal = agree(&x, &y);
    report(&y, text, found);
    parsed_clear(&x);
    parsed_clear(&y);
    free(a);
    free(b);
    return equal;
}
