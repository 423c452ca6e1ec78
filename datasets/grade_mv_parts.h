/* Between the files of profile math-verify: search, normalisation, comparison. */
#pragma once

#include "datasets/grade_mv.h"
#include "datasets/grade_same.h"

enum { MV_ITEMS = 6, MV_ROOM = TREE_TEXT + 1 };

/* One match of a search expression. */
struct mv_match {
    size_t start, end;
    int priority; /* of its expression: 0 is the highest, 300 takes anything */
    int rank;     /* in the library's order of expressions */
    enum { MV_LATEX, MV_BOX, MV_NUMBER } kind;
    struct slice item[MV_ITEMS]; /* contents of formulas joined by "and"; or one number */
    bool percent[MV_ITEMS];
    int n;
};

/* Calls `take` for the matches of one priority after the other, as the library orders them, until
 * it returns true. */
void mv_search(struct slice text, bool (*take)(void *context, const struct mv_match *match),
               void *context);

/* The text of a formula as the library cleans it: boxes opened (`last`: only the last one), units
 * and markup removed. Returns the size, at most MV_ROOM - 1; what is longer is cut. */
size_t mv_clean(struct slice s, bool last, char out[MV_ROOM]);

/* verify() of two trees read with READ_LIBRARY. */
bool mv_same(const struct node *gold, const struct node *answer, int64_t *left);
