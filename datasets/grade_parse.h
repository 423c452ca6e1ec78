/* Between the parser's four files. Inside the grader only. */
#pragma once

#include "datasets/grade_tree.h"

struct parser {
    struct tree *t;
    int at, depth, how;
    int in_set; /* in braces of a set, where | means "such that" */
};

/* Each returns NULL where a cap is reached or the tokens don't fit. */
struct node *parse_new(struct parser *p, enum node_kind kind, char op);
struct node *parse_add(struct node *parent, struct node *child); /* parent, or NULL if one is */
struct node *parse_pair(struct parser *p, enum node_kind kind, struct node *a, struct node *b);
struct node *parse_name(struct parser *p, const char *name);

struct node *parse_list(struct parser *p); /* items joined by commas, "and", "or" */
struct node *parse_item(struct parser *p); /* relations between sets and sums */
struct node *parse_sum(struct parser *p);
struct node *parse_factor(struct parser *p); /* with its powers, "!" and degrees */

/* grade_words.c: a run of words as one name, or the letters of a word as factors; whether a bare
 * word is one; a unit behind a value. */
struct node *parse_word(struct parser *p);
bool parse_is_word(const struct token *token);
bool parse_starts_unit(const struct parser *p);
struct node *parse_unit(struct parser *p, struct node *value);
struct node *parse_measured(struct parser *p, struct node *value, const char *unit);

/* Something with its own beginning and end: a number, a name, a group, a command with its
 * arguments (grade_primary.c). */
struct node *parse_primary(struct parser *p);
/* Behind an opening bracket or brace: a tuple, interval or set, or what stands there alone. */
struct node *parse_group(struct parser *p, char open);
struct node *parse_braces(struct parser *p);
/* A command and what it takes (grade_command.c). */
struct node *parse_command(struct parser *p);
/* As parse_argument; of a number one digit only, as TeX has it: \frac12. */
struct node *parse_short_argument(struct parser *p);
/* {...}, or the one token that stands for it behind ^ and _. */
struct node *parse_argument(struct parser *p);

static inline struct token *parse_token(const struct parser *p) { return &p->t->token[p->at]; }
static inline bool parse_sign(const struct parser *p, char sign) {
    return parse_token(p)->kind == TOKEN_SIGN && parse_token(p)->sign == sign;
}
static inline bool parse_take(struct parser *p, char sign) {
    bool is = parse_sign(p, sign);
    p->at += is;
    return is;
}
