/* Between the lexer's two files. Inside the grader only. */
#pragma once

#include <ctype.h>
#include <string.h>

#include "datasets/grade_tree.h"

enum { LOOK_AHEAD = 5 }; /* END tokens behind the last, for the parser to look at */

struct lexer {
    struct tree *t;
    const char *text;
    size_t size, at;
    int how, depth;
    int nesting; /* brackets open */
    bool space;
};

/* NULL, false: no token or character more fits. */
struct token *lex_push(struct lexer *l, enum token_kind kind, char sign);
bool lex_push_string(struct lexer *l, enum token_kind kind, const char *s, size_t n);

/* The number at the lexer's place: thousands, decimals, what recurs (grade_digits.c). */
bool lex_number(struct lexer *l);

static inline char lex_peek(const struct lexer *l, size_t ahead) {
    return l->at + ahead < l->size ? l->text[l->at + ahead] : 0;
}
static inline bool lex_digit(const struct lexer *l, size_t ahead) {
    return isdigit((unsigned char)lex_peek(l, ahead));
}
static inline bool lex_is(const struct lexer *l, size_t ahead, const char *s) {
    size_t n = strlen(s);
    return l->at + ahead + n <= l->size && !memcmp(l->text + l->at + ahead, s, n);
}
