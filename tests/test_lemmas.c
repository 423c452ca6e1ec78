/* The lemmas generator, judged from its text alone: this file parses prompt and solution with its
 * own scanner and knows nothing of how they were drawn. The golden hash at the end was made by the
 * generator itself and guards one thing, that the bytes stay the same on every machine and in every
 * later version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "datasets/dataset.h"
#include "tests/lemmas.h"

/* --- a scanner that fails the test where the text is not as promised --------------- */

struct scan {
    const char *all, *at;
};

static void take(struct scan *s, const char *literal) {
    size_t n = strlen(literal);
    if (strncmp(s->at, literal, n) != 0)
        fail_msg("byte %td: expected '%s' before '%.40s'\n%s", s->at - s->all, literal, s->at,
                 s->all);
    s->at += n;
}

static bool try_take(struct scan *s, const char *literal) {
    size_t n = strlen(literal);
    if (strncmp(s->at, literal, n) != 0)
        return false;
    s->at += n;
    return true;
}

static int take_number(struct scan *s) {
    char *end;
    if (*s->at < '0' || *s->at > '9')
        fail_msg("byte %td: expected a number before '%.40s'", s->at - s->all, s->at);
    long value = strtol(s->at, &end, 10);
    s->at = end;
    return (int)value;
}

static void take_word(struct scan *s, char out[16]) {
    size_t n = strspn(s->at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (n == 0 || n > 15)
        fail_msg("byte %td: expected a word before '%.40s'", s->at - s->all, s->at);
    memcpy(out, s->at, n);
    out[n] = 0;
    s->at += n;
}

/* --- what the text says -------------------------------------------------------------- */

struct person {
    char name[16];
    int value;
};

struct reading { /* of one solution */
    struct person people[200];
    int n;
    int n_uses; /* recalls so far, to hold the labels against */
    char object[16];
};

static int find_person(const struct reading *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->people[i].name, name))
            return i;
    fail_msg("%s was never mentioned before", name);
    return -1;
}

/* A statement without its subject, from "42 shells." on. Returns the value it asserts, given what
 * is known, and which earlier people it names. */
static int read_statement(struct scan *s, const struct reading *r, int others[2], int *n_others,
                          char *sign, int operands[2]) {
    char word[16];
    *n_others = 0;
    bool twice = try_take(s, "twice ");
    if (try_take(s, "as many ")) {
        take(s, r->object);
        take(s, " as ");
        take_word(s, word);
        others[(*n_others)++] = find_person(r, word);
        if (!twice) {
            take(s, " and ");
            take_word(s, word);
            others[(*n_others)++] = find_person(r, word);
            take(s, " together");
            assert_int_not_equal(others[0], others[1]);
        }
        take(s, ".");
        *sign = '+';
        operands[0] = r->people[others[0]].value;
        operands[1] = r->people[others[*n_others - 1]].value;
        return operands[0] + operands[1];
    }
    int number = take_number(s);
    bool fewer = try_take(s, " fewer ");
    if (!fewer && !try_take(s, " more ")) {
        take(s, " ");
        take(s, r->object);
        take(s, ".");
        return number;
    }
    take(s, r->object);
    take(s, " than ");
    take_word(s, word);
    take(s, ".");
    others[(*n_others)++] = find_person(r, word);
    *sign = fewer ? '-' : '+';
    operands[0] = r->people[others[0]].value;
    operands[1] = number;
    return fewer ? operands[0] - number : operands[0] + number;
}

/* " Compute 42+39: 2+9+0=11, 4+3+1=8," every digit step checked; returns the number that the digits
 * spell. */
static int read_computation(struct scan *s, char sign, const int operands[2]) {
    char head[64], op[2] = {sign, 0};
    snprintf(head, sizeof head, " Compute %d%c%d:", operands[0], sign, operands[1]);
    take(s, head);
    int result = 0, carry = 0, place = 1;
    do {
        take(s, " ");
        int a = take_number(s);
        take(s, op);
        int b = take_number(s);
        take(s, op);
        assert_int_equal(take_number(s), carry);
        take(s, "=");
        int c = take_number(s);
        take(s, ",");
        assert_int_equal(a % 10, operands[0] / place % 10);
        assert_int_equal(b, operands[1] / place % 10);
        assert_int_equal(c, sign == '+' ? a + b + carry : a - b - carry);
        if (sign == '-')
            assert_in_range(c, 0, 9);
        carry = sign == '+' ? c / 10 : a / 10;
        result += c % 10 * place;
        place *= 10;
    } while (operands[0] / place > 0 || operands[1] / place > 0);
    assert_int_equal(carry, 0);
    return result;
}

static void check_use(const struct problem *p, int use, const char *from, const char *to, int step,
                      int source) {
    assert_true(use < p->n_uses);
    assert_int_equal(p->uses[use].from, from - p->solution);
    assert_int_equal(p->uses[use].to, to - p->solution);
    assert_int_equal(p->uses[use].step, step);
    assert_int_equal(p->uses[use].source, source);
}

static void read_step(struct scan *s, struct reading *r, const struct problem *p, int step) {
    struct person new = {0};
    int others[2], n_others, operands[2] = {0};
    char sign = 0;
    take(s, "Step ");
    assert_int_equal(take_number(s), step + 1);
    take(s, ": ");
    take_word(s, new.name);
    for (int i = 0; i < r->n; i++)
        assert_string_not_equal(new.name, r->people[i].name);
    take(s, " has ");
    new.value = read_statement(s, r, others, &n_others, &sign, operands);
    assert_in_range(new.value, 1, 999);
    assert_int_equal(p->dep_start[step + 1] - p->dep_start[step], n_others);
    assert_true(step == 0 || n_others > 0);
    for (int k = 0; k < n_others; k++) {
        assert_int_equal(p->deps[p->dep_start[step] + k], others[k]);
        take(s, " Recall ");
        take(s, r->people[others[k]].name);
        take(s, " has ");
        const char *from = s->at;
        assert_int_equal(take_number(s), r->people[others[k]].value);
        check_use(p, r->n_uses++, from, s->at, step, others[k]);
        take(s, ".");
    }
    if (sign)
        assert_int_equal(read_computation(s, sign, operands), new.value);
    take(s, " So ");
    take(s, new.name);
    take(s, " has ");
    assert_int_equal(p->lemmas[step].from, s->at - p->solution);
    assert_int_equal(take_number(s), new.value);
    assert_int_equal(p->lemmas[step].to, s->at - p->solution);
    assert_int_equal(p->lemmas[step].step, step);
    take(s, " ");
    take(s, r->object);
    take(s, ".\n");
    r->people[r->n++] = new;
}

/* The solution's statements, in order, are the prompt's. Returns the person asked for. */
static int check_prompt(const struct problem *p, const struct reading *r) {
    struct scan s = {p->prompt, p->prompt}, told = {p->solution, p->solution};
    take(&s, "Some friends count ");
    take(&s, r->object);
    take(&s, ".");
    for (int step = 0; step < p->n_steps; step++) {
        char head[32], statement[200];
        snprintf(head, sizeof head, "Step %d: ", step + 1);
        take(&told, head);
        int n = (int)strcspn(told.at, ".") + 1;
        snprintf(statement, sizeof statement, " %.*s", n, told.at);
        take(&s, statement);
        told.at = strchr(told.at, '\n') + 1;
    }
    char word[16];
    take(&s, " How many ");
    take(&s, r->object);
    take(&s, " does ");
    take_word(&s, word);
    take(&s, " have?\n");
    assert_int_equal(*s.at, 0);
    return find_person(r, word);
}

static void check_problem(const struct problem *p, int steps) {
    struct reading r = {0};
    struct scan s = {p->solution, p->solution}, head = {p->prompt, p->prompt};
    take(&head, "Some friends count ");
    take_word(&head, r.object);
    assert_int_equal(p->n_steps, steps);
    assert_int_equal(p->n_lemmas, steps);
    assert_int_equal(p->dep_start[0], 0);
    for (int step = 0; step < steps; step++)
        read_step(&s, &r, p, step);
    int asked = check_prompt(p, &r);
    take(&s, "The answer is ");
    const char *from = s.at;
    assert_int_equal(take_number(&s), r.people[asked].value);
    check_use(p, r.n_uses++, from, s.at, steps, asked);
    take(&s, ".");
    assert_int_equal(*s.at, 0);
    assert_int_equal(p->n_uses, r.n_uses);
    assert_int_equal(atoi(p->answer), r.people[asked].value);
}

/* --- tests ------------------------------------------------------------------------------ */

static const struct dataset *lemmas(void) { return dataset_find("lemmas"); }

static void test_lemmas_text_is_true(void **state) {
    (void)state;
    static const struct {
        const char *options;
        int steps, n;
    } cases[] = {
        {"", 16, 400},
        {"steps=1", 1, 50},
        {"steps=2,seed=7", 2, 100},
        {"steps=3,seed=8,lifetime=0.01", 3, 100},
        {"steps=32,phoenix=1,reuse=uniform,seed=9007199254740991", 32, 100},
        {"steps=24,phoenix=0,reuse=periodic,lifetime=2", 24, 100},
        {"steps=200,reuse=birth,lifetime=1000", 200, 20},
        {"steps=200,reuse=periodic,lifetime=0.01", 200, 5},
        {"steps=200,lifetime=0.01,phoenix=0", 200, 5},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *param = lemmas_options(cases[c].options);
        for (int i = 0; i < cases[c].n; i++) {
            struct problem p;
            assert_true(lemmas()->get(param, i, &p, NULL));
            check_problem(&p, cases[c].steps);
            problem_free(&p);
        }
        free(param);
    }
}

/* Regenerate: print `hash` below after a deliberate change of the text, and retrain the embedded
 * model. */
#define GOLDEN "37c3ee7877cbc054660a068afbfc433ba2d1b119d9806fffdb49d10fe1aa686c"

static void test_lemmas_same_options_same_bytes(void **state) {
    (void)state;
    static const char *const options[] = {
        "",
        "reuse=birth,lifetime=2",
        "reuse=uniform,seed=3",
        "reuse=periodic,lifetime=2.7,phoenix=0.5",
        "steps=24,lifetime=0.3,seed=123456789",
    };
    char hash[HASH_HEX], *all = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&all, &size);
    for (size_t c = 0; c < sizeof options / sizeof *options; c++) {
        void *param = lemmas_options(options[c]);
        for (int i = 0; i < 600; i++) {
            struct problem p;
            assert_true(lemmas()->get(param, i * 7, &p, NULL));
            fprintf(out, "%s\n%s%s\n%s\n", p.id, p.prompt, p.solution, p.answer);
            problem_free(&p);
        }
        free(param);
    }
    assert_int_equal(fclose(out), 0);
    hash_bytes(all, size, hash);
    free(all);
    assert_string_equal(hash, GOLDEN);
}

static void test_lemmas_seeds_differ(void **state) {
    (void)state;
    void *one = lemmas_options(""), *two = lemmas_options("seed=2");
    struct problem a, b, c;
    assert_true(lemmas()->get(one, 0, &a, NULL) && lemmas()->get(one, 1, &b, NULL) &&
                lemmas()->get(two, 0, &c, NULL));
    assert_string_not_equal(a.prompt, b.prompt);
    assert_string_not_equal(a.prompt, c.prompt);
    assert_string_not_equal(a.id, b.id);
    assert_string_not_equal(a.id, c.id);
    problem_free(&a);
    problem_free(&b);
    problem_free(&c);
    free(one);
    free(two);
}

static void test_lemmas_refuses_bad_options(void **state) {
    (void)state;
    static const char *const bad[] = {
        "steps=0",      "steps=201",    "steps=1.5",       "lifetime=0",  "lifetime=-4",
        "lifetime=nan", "phoenix=1.01", "phoenix=-1",      "reuse=never", "seed=-1",
        "seed=x",       "step=16",      "steps=8,steps=9",
    };
    void *param = lemmas_options("");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        if (option_parse(lemmas()->options, param, "dataset lemmas", bad[i], &e))
            fail_msg("%s was accepted", bad[i]);
        assert_int_equal(e.code, EXIT_USAGE);
    }
    struct err e = {0};
    struct problem p = {0};
    assert_false(lemmas()->get(param, -1, &p, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    free(param);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lemmas_text_is_true),
        cmocka_unit_test(test_lemmas_same_options_same_bytes),
        cmocka_unit_test(test_lemmas_seeds_differ),
        cmocka_unit_test(test_lemmas_refuses_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
