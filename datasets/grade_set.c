/* Sets of real numbers, compared where they can change: at the ends of all intervals of both, and
 * between these. A place is counted from the left: 0 lies before the first end, 1 at it, 2 behind
 * it, and so on. */
#include <string.h>

#include "datasets/grade_same.h"

enum { ENDS = 40 };

struct end {
    const struct node *node;
    int sign, place;
    struct ball value;
};

struct line {
    struct end end[ENDS];
    int n, places;
    const char *variable; /* of the inequalities; NULL: none seen */
    int64_t *left;
};

/* --- what may be compared --------------------------------------------------------------------- */

/* x < 3, 2 <= x < 5, x != 1: a bare variable, and numbers around it. */
static bool is_inequality(const struct node *node) {
    const char *variable = NULL;
    for (const struct node *c = node->first; c; c = c->next) {
        if (c->before == 'i')
            return false;
        if (c->kind == NODE_NAME && !variable)
            variable = c->string;
        else if (has_kind(c, NODE_NAME) || has_kind(c, NODE_PLUS_MINUS))
            return false;
    }
    return variable && node->n <= 3;
}

bool is_real_set(const struct node *node) {
    switch (node->kind) {
    case NODE_EMPTY:
    case NODE_REALS:
    case NODE_SET:
        return true;
    case NODE_GROUP:
        return node->n == 2 && node->op != ':';
    case NODE_UNION:
    case NODE_INTERSECTION:
    case NODE_DIFFERENCE:
        return is_real_set(node->first) && is_real_set(node->last);
    case NODE_RELATION:
        if (node->last->before == 'i')
            return node->n == 2 && is_real_set(node->last);
        return !is_equation(node) && is_inequality(node);
    case NODE_LIST:
        for (const struct node *c = node->first; c; c = c->next)
            if (c->kind != NODE_RELATION || !is_real_set(c))
                return false;
        return true;
    default:
        return false;
    }
}

/* --- ends ------------------------------------------------------------------------------------- */

static bool add_end(struct line *line, const struct node *node, int sign) {
    if (infinity_sign(node))
        return true;
    if (line->n == ENDS)
        return false;
    struct end *end = &line->end[line->n++];
    *end = (struct end){.node = node, .sign = sign};
    ball_init(&end->value);
    struct place place = {0, sign, -1, line->left, false};
    return !has_kind(node, NODE_NAME) && ball_value(node, &place, &end->value) && end->value.real;
}

static bool collect(struct line *line, const struct node *node) {
    bool set = node->kind == NODE_SET, leaf = set || node->kind == NODE_GROUP;
    bool relation = node->kind == NODE_RELATION && node->last->before != 'i';
    if (node->kind == NODE_RELATION && !relation)
        return collect(line, node->last);
    for (const struct node *c = node->first; c; c = c->next) {
        if (relation && c->kind == NODE_NAME) {
            if (line->variable && strcmp(line->variable, c->string))
                return false;
            line->variable = c->string;
            continue;
        }
        bool both = set && has_kind(c, NODE_PLUS_MINUS);
        bool ok = leaf || relation ? add_end(line, c, 1) && (!both || add_end(line, c, -1))
                                   : collect(line, c);
        if (!ok)
            return false;
    }
    return true;
}

/* Equal ends share a place. */
static bool put_in_order(struct line *line) {
    struct end *sorted[ENDS];
    for (int i = 0; i < line->n; i++) {
        int k = i;
        for (; k > 0; k--) {
            enum order order = ball_order(&sorted[k - 1]->value, &line->end[i].value);
            if (order == ORDER_UNKNOWN)
                return false;
            if (order != ORDER_MORE)
                break;
            sorted[k] = sorted[k - 1];
        }
        sorted[k] = &line->end[i];
    }
    for (int i = 0, place = -1; i < line->n; i++) {
        bool same = i && ball_order(&sorted[i - 1]->value, &sorted[i]->value) == ORDER_EQUAL;
        place += same ? 0 : 2;
        sorted[i]->place = place;
        line->places = place + 2;
    }
    return true;
}

static int place_of(const struct line *line, const struct node *node, int sign) {
    int infinite = infinity_sign(node);
    if (infinite)
        return infinite < 0 ? -1 : line->places;
    for (int i = 0; i < line->n; i++)
        if (line->end[i].node == node && line->end[i].sign == sign)
            return line->end[i].place;
    return -2;
}

/* --- membership ------------------------------------------------------------------------------- */

static bool holds(int left, char sign, int right) {
    switch (sign) {
    case '<':
        return left < right;
    case '>':
        return left > right;
    case 'l':
        return left <= right;
    case 'g':
        return left >= right;
    case 'n':
        return left != right;
    default:
        return left == right;
    }
}

static bool fulfils(const struct line *line, const struct node *relation, int place) {
    int before = 0;
    for (const struct node *c = relation->first; c; c = c->next) {
        int here = c->kind == NODE_NAME ? place : place_of(line, c, 1);
        if (c->before && !holds(before, c->before, here))
            return false;
        before = here;
    }
    return true;
}

static bool in_set(const struct line *line, const struct node *set, int place) {
    for (const struct node *c = set->first; c; c = c->next)
        if (place_of(line, c, 1) == place || place_of(line, c, -1) == place)
            return true;
    return false;
}

static bool is_member(const struct line *line, const struct node *node, int place) {
    int low, high;
    switch (node->kind) {
    case NODE_EMPTY:
        return false;
    case NODE_SET:
        return in_set(line, node, place);
    case NODE_GROUP:
        low = place_of(line, node->first, 1), high = place_of(line, node->last, 1);
        return (place > low || (place == low && node->op == '[')) &&
               (place < high || (place == high && node->close == ']'));
    case NODE_UNION:
        return is_member(line, node->first, place) || is_member(line, node->last, place);
    case NODE_INTERSECTION:
        return is_member(line, node->first, place) && is_member(line, node->last, place);
    case NODE_DIFFERENCE:
        return is_member(line, node->first, place) && !is_member(line, node->last, place);
    case NODE_RELATION:
        return node->last->before == 'i' ? is_member(line, node->last, place)
                                         : fulfils(line, node, place);
    case NODE_LIST: /* "and" wants all, everything else one */
        for (const struct node *c = node->first; c; c = c->next)
            if (is_member(line, c, place) != (node->op == 'a'))
                return node->op != 'a';
        return node->op == 'a';
    default:
        return true; /* all reals */
    }
}

/* (8,-2) is a point, not an empty interval. */
static bool are_intervals(const struct line *line, const struct node *node) {
    if (node->kind == NODE_GROUP) {
        int low = place_of(line, node->first, 1), high = place_of(line, node->last, 1);
        return low < high || (low == high && node->op == '[' && node->close == ']');
    }
    for (const struct node *c = node->first; c; c = c->next)
        if (!are_intervals(line, c))
            return false;
    return true;
}

bool same_real_sets(const struct node *a, const struct node *b, int64_t *left) {
    struct line *line = &(struct line){.left = left, .places = 1};
    bool same = collect(line, a) && collect(line, b) && put_in_order(line) &&
                are_intervals(line, a) && are_intervals(line, b);
    for (int place = 0; same && place < line->places; place++)
        same = is_member(line, a, place) == is_member(line, b, place);
    for (int i = 0; i < line->n; i++)
        ball_clear(&line->end[i].value);
    return same;
}
