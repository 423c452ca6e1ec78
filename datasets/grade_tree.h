/* An answer as a tree: what the grader's lexer and parser make of its text. Inside the grader only.
 * Everything a tree points at lies in it or in constants, so it is copied nowhere and freed never.
 * Caps on length, tokens, nodes, depth and digits make the cost of any text small. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TREE_TEXT = 2000,  /* bytes of an answer; a longer one is compared as text only */
    TREE_TOKENS = 640, /* and so is one of more tokens, */
    TREE_NODES = 480,  /* of more nodes, */
    TREE_DEPTH = 48,   /* or of deeper nesting */
    TREE_CHARS = 4096,
    TREE_NAME = 40,
};

/* --- tokens ----------------------------------------------------------------------------------- */

enum token_kind {
    TOKEN_END,
    TOKEN_NUMBER,  /* text: cleaned digits, "1234.5"; repeat: how many of them recur for ever */
    TOKEN_NAME,    /* a variable: one letter, or a Greek one by its name */
    TOKEN_WORD,    /* several letters, or \text{...}: text is its plain form */
    TOKEN_COMMAND, /* \frac and the like: text without the backslash */
    TOKEN_SIGN,    /* punctuation: sign */
    TOKEN_MEMBER,  /* \in */
    TOKEN_UNION,   /* of sets, as the next two */
    TOKEN_INTERSECTION,
    TOKEN_DIFFERENCE,
    TOKEN_RELATION, /* sign: '=', '<', '>', 'l' (<=), 'g' (>=), 'n' (not equal), '~' */
    TOKEN_AND,      /* "and", "or" between answers */
    TOKEN_OR,
    TOKEN_DEGREE,
};

struct token {
    enum token_kind kind;
    char sign;
    bool space; /* white space stands in front */
    bool text;  /* a word from \text{...} */
    int repeat;
    const char *string; /* 0-ended */
};

/* --- nodes ------------------------------------------------------------------------------------ */

enum node_kind {
    NODE_NUMBER, /* string, repeat */
    NODE_PI,     /* constants */
    NODE_E,
    NODE_I,
    NODE_INFINITY,
    NODE_NAME,       /* string: a variable, or a word in its place */
    NODE_SUM,        /* children */
    NODE_PRODUCT,    /* children */
    NODE_QUOTIENT,   /* a / b */
    NODE_POWER,      /* a ^ b */
    NODE_MINUS,      /* -a */
    NODE_PLUS_MINUS, /* +-a; op '-': -+a */
    NODE_CALL,       /* op: enum call; children: arguments */
    NODE_DEGREES,    /* an angle in degrees, with its sign */
    NODE_BASED,      /* digits a in base b */
    NODE_UNIT,       /* a, measured in string */
    NODE_LIST,       /* a, b, c; op 'a' where "and" joins, 'o' where "or" does */
    NODE_SET,        /* {a, b, c} */
    NODE_GROUP,      /* op, close: '(' or '[' and ')' or ']': tuple or interval */
    NODE_MATRIX,     /* children row by row; columns: their number; op: v, V of vmatrix, Vmatrix */
    NODE_RELATION,   /* children: its sides */
    NODE_UNION,      /* children */
    NODE_INTERSECTION,
    NODE_DIFFERENCE,
    NODE_EMPTY, /* the empty set */
    NODE_REALS,
};

enum call {
    CALL_SQRT,
    CALL_ROOT,
    CALL_LOG,
    CALL_LN,
    CALL_EXP,
    CALL_SIN,
    CALL_COS,
    CALL_TAN,
    CALL_COT,
    CALL_SEC,
    CALL_CSC,
    CALL_ASIN,
    CALL_ACOS,
    CALL_ATAN,
    CALL_SINH,
    CALL_COSH,
    CALL_TANH,
    CALL_ABS,
    CALL_FLOOR,
    CALL_CEIL,
    CALL_FACTORIAL,
    CALL_BINOMIAL,
    CALL_MAX,
    CALL_MIN,
};

struct node {
    enum node_kind kind;
    char op, close;
    char before; /* in a relation: the sign in front of this side, 'i' for \in; 0 at the first */
    int repeat, columns, n; /* n: children */
    const char *string;
    struct node *first, *last, *next;
};

struct tree {
    struct token token[TREE_TOKENS];
    int n_tokens;
    struct node node[TREE_NODES];
    int n_nodes;
    char chars[TREE_CHARS];
    size_t n_chars;
    bool ambiguous; /* a comma was read as one between thousands, and could be one between items */
    bool wordy;     /* has a word, in \text or bare */
};

/* How a text is read. */
enum {
    READ_ITEMS = 1,   /* "1,234" are two items */
    READ_LIBRARY = 2, /* as math-verify reads: bases, units and the case of names are dropped */
};

/* --- lexer (grade_lex.c) ---------------------------------------------------------------------- */

/* Fills the tokens; false where a cap is exceeded or a character has no meaning. */
bool tree_lex(struct tree *t, const char *text, size_t size, int how);
/* Copies into the tree's characters; NULL where they are full. */
const char *tree_string(struct tree *t, const char *text, size_t size);

/* --- parser (grade_parse.c) ------------------------------------------------------------------- */

/* The tree of an answer; NULL where it is none that the grammar knows. */
struct node *tree_parse(struct tree *t, const char *text, size_t size, int how);
const struct node *node_child(const struct node *node, int i); /* NULL past the last */
