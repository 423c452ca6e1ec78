/* LaTeX, and what models write instead of it, to tokens. Meaning is given to tokens, never by
 * deleting bytes: a blank "\ " and a row's end "\\" begin alike. */
#include <ctype.h>
#include <string.h>

#include "base/utf8.h"
#include "datasets/grade_text.h"
#include "datasets/grade_lex.h"

struct word_token {
    const char *name; /* a command without its backslash, a bare word, or a character in UTF-8 */
    enum token_kind kind;
    char sign;
};

/* What a command is, where it is not one that the parser knows by name. kind END: nothing. */
// clang-format off
static const struct word_token commands[] = {
    {"left", TOKEN_END, 0}, {"right", TOKEN_END, 0}, {"displaystyle", TOKEN_END, 0},
    {"textstyle", TOKEN_END, 0}, {"limits", TOKEN_END, 0}, {"big", TOKEN_END, 0},
    {"Big", TOKEN_END, 0}, {"bigl", TOKEN_END, 0}, {"bigr", TOKEN_END, 0}, {"Bigl", TOKEN_END, 0},
    {"Bigr", TOKEN_END, 0}, {"bigg", TOKEN_END, 0}, {"Bigg", TOKEN_END, 0}, {"mathbf", TOKEN_END, 0},
    {"mathit", TOKEN_END, 0}, {"boldsymbol", TOKEN_END, 0}, {"bm", TOKEN_END, 0},
    {"boxed", TOKEN_END, 0}, {"fbox", TOKEN_END, 0}, {"vec", TOKEN_END, 0}, {"rm", TOKEN_END, 0},
    {"bf", TOKEN_END, 0}, {"mathop", TOKEN_END, 0}, {"mathstrut", TOKEN_END, 0},
    {"quad", TOKEN_END, ' '}, {"qquad", TOKEN_END, ' '}, {"thinspace", TOKEN_END, ' '},
    {"times", TOKEN_SIGN, '*'}, {"cdot", TOKEN_SIGN, '*'}, {"ast", TOKEN_SIGN, '*'},
    {"div", TOKEN_SIGN, '/'}, {"pm", TOKEN_SIGN, 'p'}, {"mp", TOKEN_SIGN, 'm'},
    {"le", TOKEN_RELATION, 'l'}, {"leq", TOKEN_RELATION, 'l'}, {"leqslant", TOKEN_RELATION, 'l'},
    {"ge", TOKEN_RELATION, 'g'}, {"geq", TOKEN_RELATION, 'g'}, {"geqslant", TOKEN_RELATION, 'g'},
    {"lt", TOKEN_RELATION, '<'}, {"gt", TOKEN_RELATION, '>'}, {"ne", TOKEN_RELATION, 'n'},
    {"neq", TOKEN_RELATION, 'n'}, {"equiv", TOKEN_RELATION, '='}, {"approx", TOKEN_RELATION, '~'}, {"in", TOKEN_MEMBER, 0},
    {"cup", TOKEN_UNION, 0}, {"cap", TOKEN_INTERSECTION, 0}, {"setminus", TOKEN_DIFFERENCE, 0},
    {"backslash", TOKEN_DIFFERENCE, 0}, {"circ", TOKEN_DEGREE, 0}, {"degree", TOKEN_DEGREE, 0},
    {"lbrace", TOKEN_SIGN, 'S'}, {"rbrace", TOKEN_SIGN, 's'}, {"lbrack", TOKEN_SIGN, '['},
    {"rbrack", TOKEN_SIGN, ']'}, {"langle", TOKEN_SIGN, '('}, {"rangle", TOKEN_SIGN, ')'},
    {"vert", TOKEN_SIGN, '|'}, {"lvert", TOKEN_SIGN, '|'}, {"rvert", TOKEN_SIGN, '|'},
    {"mid", TOKEN_SIGN, '|'}, {"colon", TOKEN_SIGN, ':'}, {"prime", TOKEN_SIGN, '\''},
    {"ldots", TOKEN_SIGN, 'D'}, {"dots", TOKEN_SIGN, 'D'}, {"cdots", TOKEN_SIGN, 'D'},
    {"lor", TOKEN_OR, 0}, {"vee", TOKEN_OR, 0}, {"land", TOKEN_AND, 0}, {"wedge", TOKEN_AND, 0},
    {"euro", TOKEN_END, 0}, {"pounds", TOKEN_END, 0}, {NULL, TOKEN_END, 0},
};
/* The same for characters beyond ASCII. */
static const struct word_token characters[] = {
    {"×", TOKEN_SIGN, '*'}, {"·", TOKEN_SIGN, '*'}, {"⋅", TOKEN_SIGN, '*'}, {"∙", TOKEN_SIGN, '*'},
    {"÷", TOKEN_SIGN, '/'}, {"−", TOKEN_SIGN, '-'}, {"–", TOKEN_SIGN, '-'}, {"±", TOKEN_SIGN, 'p'},
    {"∓", TOKEN_SIGN, 'm'}, {"≤", TOKEN_RELATION, 'l'}, {"≥", TOKEN_RELATION, 'g'},
    {"≠", TOKEN_RELATION, 'n'}, {"∈", TOKEN_MEMBER, 0}, {"∪", TOKEN_UNION, 0}, {"∩", TOKEN_INTERSECTION, 0},
    {"∖", TOKEN_DIFFERENCE, 0}, {"°", TOKEN_DEGREE, 0}, {"⟨", TOKEN_SIGN, '('}, {"⟩", TOKEN_SIGN, ')'},
    {"…", TOKEN_SIGN, 'D'}, {"€", TOKEN_END, 0}, {"£", TOKEN_END, 0}, {"¥", TOKEN_END, 0},
    {"₹", TOKEN_END, 0}, {"“", TOKEN_END, 0}, {"”", TOKEN_END, 0}, {"‘", TOKEN_END, 0},
    {"’", TOKEN_END, 0}, {"\u00a0", TOKEN_END, ' '}, {"\u202f", TOKEN_END, ' '},
    {"\u2009", TOKEN_END, ' '}, {"\u3000", TOKEN_END, ' '}, {NULL, TOKEN_END, 0},
};
/* Characters that stand for commands. */
static const char *const symbols[][2] = {
    {"π", "pi"}, {"∞", "infty"}, {"√", "sqrt"}, {"∅", "emptyset"}, {"θ", "theta"}, {"α", "alpha"},
    {"β", "beta"}, {"γ", "gamma"}, {"λ", "lambda"}, {"μ", "mu"}, {"φ", "phi"}, {"ω", "omega"},
    {"ℝ", "reals"},
    {"≈", "approx"}, {NULL, NULL},
};
/* Fractions of one character, as \frac takes their digits. */
static const char *const fractions[][2] = {
    {"½", "12"}, {"⅓", "13"}, {"⅔", "23"}, {"¼", "14"}, {"¾", "34"}, {"⅕", "15"}, {"⅖", "25"},
    {"⅗", "35"}, {"⅘", "45"}, {"⅙", "16"}, {"⅚", "56"}, {"⅛", "18"}, {"⅜", "38"}, {"⅝", "58"},
    {"⅞", "78"}, {NULL, NULL},
};
/* Bare words that are commands without a backslash. */
static const char *const bare[] = {
    "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "pi", "infty", "arcsin",
    "arccos", "arctan", "sinh", "cosh", "tanh", "frac", "cdot", "times", NULL,
};
/* Commands whose argument is a text. */
static const char *const texts[] = {
    "text", "textbf", "textrm", "textit", "textnormal", "texttt", "textsf", "mbox", "hbox",
    "mathrm", "mathsf", "operatorname", "mathbb", NULL,
};
// clang-format on

static const struct word_token *find_word(const struct word_token *table, const char *s, size_t n) {
    for (; table->name; table++)
        if (strlen(table->name) == n && !memcmp(table->name, s, n))
            return table;
    return NULL;
}

static bool listed(const char *const *list, const char *s, size_t n) {
    for (; *list; list++)
        if (strlen(*list) == n && !memcmp(*list, s, n))
            return true;
    return false;
}

const char *tree_string(struct tree *t, const char *text, size_t size) {
    if (t->n_chars + size + 1 > TREE_CHARS)
        return NULL;
    char *out = t->chars + t->n_chars;
    memcpy(out, text, size);
    out[size] = 0;
    t->n_chars += size + 1;
    return out;
}

struct token *lex_push(struct lexer *l, enum token_kind kind, char sign) {
    if (l->t->n_tokens >= TREE_TOKENS - LOOK_AHEAD)
        return NULL;
    struct token *token = &l->t->token[l->t->n_tokens++];
    *token = (struct token){.kind = kind, .sign = sign, .space = l->space, .string = ""};
    l->space = false;
    return token;
}

bool lex_push_string(struct lexer *l, enum token_kind kind, const char *s, size_t n) {
    struct token *token = lex_push(l, kind, 0);
    return token && (token->string = tree_string(l->t, s, n));
}

static bool push_word(struct lexer *l, const struct word_token *word) {
    l->space |= word->sign == ' ';
    return word->kind == TOKEN_END || lex_push(l, word->kind, word->sign);
}

/* --- words ------------------------------------------------------------------------------------ */

static bool lex(struct lexer *l);

static bool lex_bare(struct lexer *l) {
    size_t n = 1;
    while (isalpha((unsigned char)lex_peek(l, n)))
        n++;
    const char *s = l->text + l->at;
    l->at += n;
    if (n == 1)
        return lex_push_string(l, TOKEN_NAME, s, n);
    if (text_is(s, n, "and"))
        return lex_push(l, TOKEN_AND, 0);
    if (text_is(s, n, "or"))
        return lex_push(l, TOKEN_OR, 0);
    if (text_is(s, n, "percent") || text_is(s, n, "percentage") || text_is(s, n, "pct"))
        return lex_push(l, TOKEN_SIGN, '%');
    if (text_is(s, n, "infinity") || text_is(s, n, "inf"))
        return lex_push_string(l, TOKEN_COMMAND, "infty", 5);
    const struct word_token *known = listed(bare, s, n) ? find_word(commands, s, n) : NULL;
    if (known)
        return push_word(l, known);
    if (listed(bare, s, n))
        return lex_push_string(l, TOKEN_COMMAND, s, n);
    return lex_push_string(l, TOKEN_WORD, s, n);
}

/* The words of a text, each for itself; one text where it holds more than words. */
static bool lex_words(struct lexer *l, const char *s, size_t n) {
    char plain[TREE_NAME * 4];
    bool apart = !(l->how & READ_LIBRARY);
    for (size_t i = 0; i < n; i++)
        apart &= isalpha((unsigned char)s[i]) || (s[i] && strchr(" ~.,'-", s[i]));
    for (size_t i = 0; i < n;) {
        size_t size = 0;
        while (i + size < n && !(apart && strchr(" ~", s[i + size])))
            size++;
        if (!text_plain(s + i, size, plain, sizeof plain))
            return false;
        i += size + apart;
        l->space |= !*plain;
        if (!*plain)
            continue;
        enum token_kind joint = !strcmp(plain, "and")  ? TOKEN_AND
                                : !strcmp(plain, "or") ? TOKEN_OR
                                                       : TOKEN_END;
        bool times = apart && !strcmp(plain, "times") && i >= n && l->at < l->size;
        bool ok = joint   ? lex_push(l, joint, 0) != NULL
                  : times ? lex_push(l, TOKEN_SIGN, '*') != NULL
                          : lex_push_string(l, TOKEN_WORD, plain, strlen(plain));
        if (!ok)
            return false;
        if (!joint && !times)
            l->t->wordy = l->t->token[l->t->n_tokens - 1].text = true;
    }
    return true;
}

/* What stands in \text{...}: a number or formula is read as if it stood outside. */
static bool lex_text(struct lexer *l, const char *command, const char *s, size_t n) {
    char plain[TREE_NAME * 4];
    size_t skip = 0;
    while (skip < n && strchr(" ,~", s[skip]))
        skip++;
    const char *first = s + skip;
    size_t rest = n - skip;
    bool formula = rest && (isdigit((unsigned char)*first) || strchr("-+$\\.", *first));
    if (text_is(command, strlen(command), "mathbb") && n == 1 && *s == 'R')
        return lex_push_string(l, TOKEN_COMMAND, "reals", 5);
    if (rest == 1 && strncmp(command, "text", 4) && strcmp(command, "mbox"))
        formula = true; /* \mathrm{e} is a letter of the formula */
    bool last = l->at >= l->size && text_is(first, rest, "times"); /* "3 times": a unit */
    if ((listed(bare, first, rest) && !last) || formula) {
        struct lexer inner = *l;
        inner.text = s, inner.size = n, inner.at = 0, inner.depth++;
        bool ok = inner.depth < 4 && lex(&inner);
        if (ok)
            l->space = inner.space;
        return ok;
    }
    if (!text_plain(s, n, plain, sizeof plain))
        return false;
    if (!*plain) {
        l->space = true;
        return true;
    }
    if (!strcmp(plain, "percent"))
        return lex_push(l, TOKEN_SIGN, '%');
    if (!strcmp(plain, "infinity") && !(l->how & READ_LIBRARY))
        return lex_push_string(l, TOKEN_COMMAND, "infty", 5);
    return lex_words(l, s, n);
}

/* The argument in braces of a text command; false: there is none. */
static bool braced(struct lexer *l, const char **s, size_t *n) {
    while (lex_peek(l, 0) == ' ')
        l->at++;
    if (lex_peek(l, 0) != '{')
        return false;
    size_t depth = 0, from = l->at + 1;
    for (; l->at < l->size; l->at++) {
        char c = l->text[l->at];
        if (c == '\\' && l->at + 1 < l->size)
            l->at++;
        else if (c == '{')
            depth++;
        else if (c == '}' && --depth == 0) {
            *s = l->text + from;
            *n = l->at++ - from;
            return true;
        }
    }
    return false;
}

/* --- everything ------------------------------------------------------------------------------- */

static bool lex_escape(struct lexer *l) { /* a backslash and no letter */
    char c = lex_peek(l, 1);
    l->at += 2;
    switch (c) {
    case '{':
        l->nesting++;
        return lex_push(l, TOKEN_SIGN, 'S');
    case '}':
        l->nesting--;
        return lex_push(l, TOKEN_SIGN, 's');
    case '%':
        return lex_push(l, TOKEN_SIGN, '%');
    case '|':
        return lex_push(l, TOKEN_SIGN, '|');
    case '\\':
        return lex_push(l, TOKEN_SIGN, 'R');
    case ' ':
    case ',':
    case ';':
    case ':':
    case '\n':
        l->space = true;
        return true;
    case '$': /* money */
        return l->how & READ_LIBRARY || lex_push(l, TOKEN_SIGN, 'C');
    case '!':
    case '#':
    case '(':
    case ')':
        return true;
    case '[':
    case ']':
        return !(l->how & READ_LIBRARY);
    default:
        return false;
    }
}

static bool lex_command(struct lexer *l) {
    if (!isalpha((unsigned char)lex_peek(l, 1)))
        return lex_escape(l);
    size_t n = 0;
    while (isalpha((unsigned char)lex_peek(l, n + 1)))
        n++;
    const char *name = l->text + l->at + 1, *s;
    size_t size;
    l->at += n + 1;
    if (listed(texts, name, n)) {
        char command[TREE_NAME];
        memcpy(command, name, n);
        command[n] = 0;
        return !braced(l, &s, &size) || lex_text(l, command, s, size);
    }
    bool library = l->how & READ_LIBRARY;
    if (!library && lex_peek(l, 0) == '.' &&
        (text_is(name, n, "left") || text_is(name, n, "right")))
        l->at++;                                      /* a bracket that isn't seen */
    bool vector = library && text_is(name, n, "vec"); /* a factor of its own to it */
    const struct word_token *known = vector ? NULL : find_word(commands, name, n);
    return known ? push_word(l, known) : lex_push_string(l, TOKEN_COMMAND, name, n);
}

static bool lex_wide(struct lexer *l) { /* a character beyond ASCII */
    const char *s = l->text + l->at;
    size_t n = utf8_width(s, l->size - l->at);
    l->at += n;
    static const char *const unread[] = {"–", "√", "∞", NULL}; /* by the library */
    if ((l->how & READ_LIBRARY) && listed(unread, s, n))
        return false;
    for (int i = 0; n && symbols[i][0]; i++)
        if (strlen(symbols[i][0]) == n && !memcmp(symbols[i][0], s, n))
            return lex_push_string(l, TOKEN_COMMAND, symbols[i][1], strlen(symbols[i][1]));
    for (int i = 0; n && fractions[i][0] && !(l->how & READ_LIBRARY); i++)
        if (strlen(fractions[i][0]) == n && !memcmp(fractions[i][0], s, n))
            return lex_push_string(l, TOKEN_COMMAND, "frac", 4) &&
                   lex_push_string(l, TOKEN_NUMBER, fractions[i][1], 2);
    if (n == 2 && !(l->how & READ_LIBRARY) && (!memcmp(s, "²", 2) || !memcmp(s, "³", 2)))
        return lex_push(l, TOKEN_SIGN, '^') &&
               lex_push_string(l, TOKEN_NUMBER, s[1] == '\xb2' ? "2" : "3", 1);
    const struct word_token *known = n ? find_word(characters, s, n) : NULL;
    bool money = known && known->kind == TOKEN_END && known->sign != ' ';
    return known && !(money && (l->how & READ_LIBRARY)) && push_word(l, known);
}

/* "<", "<=" and the like, "!=". */
static bool lex_relation(struct lexer *l) {
    char c = lex_peek(l, 0);
    bool equal = lex_peek(l, 1) == '=';
    l->at += equal ? 2 : 1;
    if (c == '=')
        return lex_push(l, TOKEN_RELATION, '=');
    return lex_push(l, TOKEN_RELATION, c == '!' ? 'n' : !equal ? c : c == '<' ? 'l' : 'g');
}

static bool lex_sign(struct lexer *l) {
    char c = lex_peek(l, 0);
    if (strchr("=<>", c) || (c == '!' && lex_peek(l, 1) == '='))
        return lex_relation(l);
    if (c == '.' && (l->how & READ_LIBRARY))
        return false;
    if (c == '.') { /* a full stop, or something left out */
        bool dots = lex_is(l, 0, "...");
        l->at += dots ? 3 : 1;
        return dots ? lex_push(l, TOKEN_SIGN, 'D') != NULL
                    : l->at >= l->size || isspace((unsigned char)lex_peek(l, 0)) ||
                          lex_peek(l, 0) == '$';
    }
    if (c == '*' && lex_peek(l, 1) == '*') { /* bold in Markdown, or a power */
        l->at += 2;
        if (l->how & READ_LIBRARY)
            return false;
        bool power = l->t->n_tokens && !l->space && isalnum((unsigned char)lex_peek(l, 0));
        return !power || lex_push(l, TOKEN_SIGN, '^');
    }
    l->at++;
    l->nesting += strchr("([", c) ? 1 : strchr(")]", c) ? -1 : 0;
    if (strchr("$\"`", c))
        return true;
    return strchr("()[]{}+-*/^_!%|,;:'&", c) && lex_push(l, TOKEN_SIGN, c);
}

static bool lex(struct lexer *l) {
    bool ok = true;
    while (ok && l->at < l->size) {
        unsigned char c = (unsigned char)l->text[l->at];
        if (isspace(c) || (c == '~' && !(l->how & READ_LIBRARY))) {
            l->space = true;
            l->at++;
        } else if (isdigit(c) || (c == '.' && lex_digit(l, 1))) {
            ok = lex_number(l);
        } else if (isalpha(c)) {
            ok = lex_bare(l);
        } else if (c == '\\') {
            ok = lex_command(l);
        } else {
            ok = c & 0x80 ? lex_wide(l) : c && lex_sign(l);
        }
    }
    return ok;
}

bool tree_lex(struct tree *t, const char *text, size_t size, int how) {
    struct lexer l = {.t = t, .text = text, .size = size, .how = how};
    t->n_tokens = 0, t->n_chars = 0, t->ambiguous = false, t->wordy = false;
    if (size > TREE_TEXT || !lex(&l))
        return false;
    for (int i = 0; i < LOOK_AHEAD; i++)
        t->token[t->n_tokens + i] = (struct token){.kind = TOKEN_END, .string = ""};
    return true;
}
