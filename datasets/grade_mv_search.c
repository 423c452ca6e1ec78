/* The library's search: regular expressions in groups of falling priority; inside of a group the
 * match that ends last comes first. The expressions are its own, but for names of groups. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/grade_mv_parts.h"

/* --- expressions ------------------------------------------------------------------------------ */

#define PERCENT "((?:\\\\?%|[Pp]ercent|[Pp]ercentage|[Pp]ct))"
#define DISPLAY_DOLLAR "(?:[^$]|\\$(?!\\$))"
#define DISPLAY_BRACKET "(?:[^\\\\]|\\\\(?!\\]))"
#define INLINE_DOLLAR "(?:\\\\[$]|[^\\n$])"
#define INLINE_PARENTHESIS "(?:[^\\\\\\n]|\\\\(?!\\)))"
#define INLINE_BRACKET "[^\\n\\]\\[]"
#define ENVIRONMENT(a, b, c, d, e, more)                                                  \
    "(?:(?:(?<!\\\\)\\$\\$(" a ")(?<!\\\\)\\$\\$|(?<!\\\\)\\\\\\[(" b ")(?<!\\\\)\\\\\\]" \
    "|(?<!\\\\|\\d)\\$(" c ")(?<!\\\\)\\$|(?<!\\\\)\\\\\\((" d ")(?<!\\\\)\\\\\\)"        \
    "|\\s\\[(" e ")\\]\\s" more ")\\s*" PERCENT "?)"
#define SIMPLE_NUMBER "-?\\d+(?:[.,]\\d+)?"
#define PLAIN                                                                  \
    ENVIRONMENT(DISPLAY_DOLLAR "+?", DISPLAY_BRACKET "+?", INLINE_DOLLAR "+?", \
                INLINE_PARENTHESIS "+?", INLINE_BRACKET "+?",                  \
                "|(-?\\\\frac\\{" SIMPLE_NUMBER "\\}\\{" SIMPLE_NUMBER "\\})")
#define AROUND_BOX(x) x "*?\\\\boxed\\{" x "+?\\}" x "*?"
#define BOXED                                                              \
    ENVIRONMENT(AROUND_BOX(DISPLAY_DOLLAR), AROUND_BOX(DISPLAY_BRACKET),   \
                AROUND_BOX(INLINE_DOLLAR), AROUND_BOX(INLINE_PARENTHESIS), \
                AROUND_BOX(INLINE_BRACKET), "|(?!)()")
#define NEXT(env) "(?:\\s*(?:,?and|,?or|,)\\s*" env ")?"
#define SEVERAL(env) env NEXT(env) NEXT(env) NEXT(env) NEXT(env) NEXT(env)
#define LATEX "(?:" SEVERAL(PLAIN) ")"

#define NUMBER                                                                               \
    "(?<!\\d)((?:-?[1-9]\\d{0,2}(?:[ ,]\\d{3})+(?:\\.\\d+)?|-?\\d+[.,]\\d+|\\.\\d+|-?\\d+))" \
    "(\\s*(?:%|[Pp]ercent|\\s*[Pp]ercentage|\\s*[Pp]ct))?"
#define OPERATORS "\\+\\-\\*\\x{d7}\\/\\^\\(\\)\\x{f7}"
#define EXPRESSION_CHARS "[\\d\\.\\s" OPERATORS "]"
#define EXPRESSION "(-?\\(?-?\\d" EXPRESSION_CHARS "*[" OPERATORS "]" EXPRESSION_CHARS "+\\)?)"
#define BEFORE "(?:^|\\s|\\=)(?:\\*\\*)?"
#define EXPRESSION_ANCHORED "(?:" BEFORE EXPRESSION "(?:\\*\\*)?(?:\\.|,|:|\\s|\\)|\\$|$))"
#define NUMBER_ANCHORED "(?:" BEFORE "[$\\x{a3}\\x{a5}\\x{20a0}-\\x{20bf}\\x{e3f}]?" NUMBER ")"
#define EXPRESSION_OR_NUMBER "(?:" EXPRESSION_ANCHORED "|" NUMBER_ANCHORED ")"
#define EQUALS "(?:.{0,100}=\\s*|.{0,50}?)"

#define FINAL_HOPE(x) "(?i:final answer is)\\:?\\s*" x "\\.?\\s?I hope"
#define FINAL(x) "(?i:final answer.{0,100}?)\\s+is\\:?\\s*" x

enum groups { GROUPS_LATEX, GROUPS_BOX, GROUPS_BOTH, GROUPS_EXPRESSION, GROUPS_NUMBER };

static struct expression {
    int priority;
    enum groups groups;
    const char *pattern;
    pcre2_code *code;
} expressions[] = {
    {0, GROUPS_LATEX, FINAL_HOPE(LATEX), NULL},
    {0, GROUPS_BOTH, FINAL_HOPE(EXPRESSION_OR_NUMBER), NULL},
    {50, GROUPS_LATEX, FINAL(LATEX), NULL},
    {50, GROUPS_LATEX, SEVERAL(BOXED), NULL},
    {50, GROUPS_BOX, "(\\\\boxed\\{.+\\})", NULL},
    {50, GROUPS_BOTH, "(?i:final answer.{0,100}?)\\s+is\\:?" EXPRESSION_OR_NUMBER, NULL},
    {100, GROUPS_LATEX, "(?i:answer):.{0,50}?" LATEX, NULL},
    {100, GROUPS_BOTH, "(?i:answer):" EQUALS EXPRESSION_OR_NUMBER "(?!\\s*=)", NULL},
    {200, GROUPS_LATEX, "(?i:answer).{0,50}?" LATEX, NULL},
    {200, GROUPS_BOTH, "(?i:answer)" EQUALS EXPRESSION_OR_NUMBER "(?!\\s*=)", NULL},
    {300, GROUPS_LATEX, LATEX, NULL},
    {300, GROUPS_EXPRESSION, EXPRESSION_ANCHORED, NULL},
    {300, GROUPS_NUMBER, NUMBER_ANCHORED, NULL},
};
enum { EXPRESSIONS = sizeof expressions / sizeof *expressions, MATCHES = 4096, GROUPS = 7 };
/* Steps of matching one expression from one place on: bounds hostile texts. */
enum { MATCH_LIMIT = 200000, STACK = 1 << 20 };

static void compile_all(void) {
    for (int i = 0; i < EXPRESSIONS; i++) {
        int error;
        PCRE2_SIZE at;
        expressions[i].code =
            pcre2_compile((PCRE2_SPTR)expressions[i].pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_DOTALL | PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
        CHECK(expressions[i].code);
        pcre2_jit_compile(expressions[i].code,
                          PCRE2_JIT_COMPLETE); /* where there is none, slower */
    }
}

/* --- matches ---------------------------------------------------------------------------------- */

struct matches {
    struct slice text;
    struct mv_match *list;
    int n, room;
};

static bool capture(const struct matches *m, const PCRE2_SIZE *at, int group, struct slice *out) {
    if (at[2 * group] == PCRE2_UNSET)
        return false;
    *out = (struct slice){m->text.text + at[2 * group], at[2 * group + 1] - at[2 * group]};
    return true;
}

/* Of each formula five or six groups for its kinds of delimiters, and one for a percent sign. */
static void take_formulas(const struct matches *m, const PCRE2_SIZE *at, int count,
                          struct mv_match *out) {
    struct slice unused;
    for (int f = 0; f < MV_ITEMS; f++)
        for (int g = 1; g < GROUPS; g++) {
            int group = f * GROUPS + g;
            if (group >= count || !capture(m, at, group, &out->item[out->n]) ||
                !out->item[out->n].size)
                continue;
            int percent = (f + 1) * GROUPS;
            out->percent[out->n++] = percent < count && capture(m, at, percent, &unused);
            break;
        }
}

static void take_groups(const struct matches *m, enum groups groups, const PCRE2_SIZE *at,
                        int count, struct mv_match *out) {
    struct slice unused;
    switch (groups) {
    case GROUPS_LATEX:
        out->kind = MV_LATEX;
        take_formulas(m, at, count, out);
        return;
    case GROUPS_BOX:
        out->kind = MV_BOX;
        out->n = capture(m, at, 1, &out->item[0]);
        return;
    case GROUPS_BOTH:
    case GROUPS_EXPRESSION:
        out->kind = MV_NUMBER;
        out->n = capture(m, at, 1, &out->item[0]);
        if (out->n || groups == GROUPS_EXPRESSION)
            return;
        out->n = count > 2 && capture(m, at, 2, &out->item[0]);
        out->percent[0] = count > 3 && capture(m, at, 3, &unused);
        return;
    case GROUPS_NUMBER:
        out->kind = MV_NUMBER;
        out->n = capture(m, at, 1, &out->item[0]);
        out->percent[0] = count > 2 && capture(m, at, 2, &unused);
        return;
    }
}

static void find_all(struct matches *m, int index, pcre2_match_context *context) {
    const struct expression *x = &expressions[index];
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(x->code, NULL);
    CHECK(data);
    for (size_t from = 0; from <= m->text.size && m->n < MATCHES;) {
        int count = pcre2_match(x->code, (PCRE2_SPTR)m->text.text, m->text.size, from,
                                PCRE2_NO_UTF_CHECK, data, context);
        if (count < 1)
            break;
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(data);
        if (m->n == m->room) {
            m->room = m->room ? 2 * m->room : 64;
            m->list = must_realloc(m->list, (size_t)m->room * sizeof *m->list);
        }
        struct mv_match *match = &m->list[m->n++];
        *match =
            (struct mv_match){.start = at[0], .end = at[1], .priority = x->priority, .rank = m->n};
        take_groups(m, x->groups, at, count, match);
        from = at[1] > from ? at[1] : from + 1;
        while (from < m->text.size && (m->text.text[from] & 0xc0) == 0x80)
            from++;
    }
    pcre2_match_data_free(data);
}

static int by_end(const void *a, const void *b) {
    const struct mv_match *x = a, *y = b;
    if (x->end != y->end)
        return x->end > y->end ? -1 : 1;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->rank - y->rank;
}

void mv_search(struct slice text, bool (*take)(void *context, const struct mv_match *match),
               void *context) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compile_all);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_jit_stack *stack = pcre2_jit_stack_create(32 * 1024, STACK, NULL);
    CHECK(limits && stack);
    pcre2_jit_stack_assign(limits, NULL, stack);
    pcre2_set_match_limit(limits, MATCH_LIMIT);
    struct matches m = {.text = text};
    bool done = false;
    for (int i = 0; i < EXPRESSIONS && !done;) {
        int priority = expressions[i].priority;
        m.n = 0;
        for (; i < EXPRESSIONS && expressions[i].priority == priority; i++)
            find_all(&m, i, limits);
        if (m.n)
            qsort(m.list, (size_t)m.n, sizeof *m.list, by_end);
        for (int k = 0; k < m.n && !done; k++)
            done = m.list[k].n && take(context, &m.list[k]);
    }
    free(m.list);
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(limits);
}
