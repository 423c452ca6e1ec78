/* lemmas: grade-school stories of n statements about n people, each but the first depending on
 * earlier ones, with a solution that restates, recalls, computes digit by digit and states its
 * result, the lemma. Because the reasoning is generated, it is known where every lemma stands and
 * where it is used again.
 *
 *   prompt    Some friends count shells. Ed has 42 shells. Bea has 35 more shells than Ed. [...]
 *             How many shells does Bea have?
 *   solution  Step 1: Ed has 42 shells. So Ed has 42 shells.
 *             Step 2: Bea has 35 more shells than Ed. Recall Ed has 42. Compute 42+35: 2+5+0=7,
 * 4+3+0=7, So Bea has 77 shells.
 *             [...] The answer is 77.
 *
 * The prompt ends with a newline, the solution's lines are separated by one. Whom a statement
 * refers to is drawn by the law `reuse`; whom the question asks for is one more draw of the same
 * law, made when all steps are done. Values are two-digit numbers: the result of "more" and "fewer"
 * is drawn first, uniformly, so that values neither run away nor betray their history.
 *
 * The same options give the same bytes on every machine: integers, and of floating point only + * /
 * on doubles (no libm). */
#include "datasets/lemmas.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "datasets/dataset.h"

#define MAX_STEPS 200
#define VALUE_MIN 10
#define VALUE_MAX 99

enum kind { FACT, MORE, FEWER, TWICE, TOGETHER };

struct statement {
    const char *name; /* the person it is about */
    enum kind kind;
    int n_others, other[2]; /* steps it refers to */
    int amount;             /* second operand: what comes to, or is taken from, the first one's */
    int value;              /* what the person has: the lemma */
    int last_use;           /* step of the latest reference to it; its own step before any */
};

struct story {
    const char *object;
    int n, n_references, asked;
    struct statement steps[MAX_STEPS];
};

// clang-format off
static const char *const objects[] = {
    "shells", "coins", "stamps", "books", "cards", "beads", "pens", "nuts", "keys", "cups", "rings", "toys",
};

/* Short, so that a byte-level BPE of at most 1,024 entries makes each a single token. */
static const char *const names[] = {
    "Abe", "Abi", "Ada", "Ali", "Alma", "Amos", "Amy", "Ana", "Andy", "Ann", "Anya", "Ari", "Arlo",
    "Art", "Asa", "Ava", "Axel", "Bao", "Bea", "Bela", "Ben", "Bert", "Beth", "Bill", "Bob", "Bram",
    "Bree", "Cal", "Cam", "Cara", "Carl", "Cass", "Chad", "Cleo", "Coen", "Cora", "Dag", "Dale",
    "Dan", "Dara", "Dave", "Dean", "Deb", "Dee", "Del", "Dina", "Dirk", "Don", "Dora", "Drew", "Ed",
    "Eda", "Edie", "Ela", "Eli", "Ella", "Elsa", "Ema", "Emil", "Enid", "Eric", "Erin", "Esme",
    "Etta", "Eva", "Eve", "Ewan", "Ezra", "Fay", "Finn", "Flo", "Fred", "Gabe", "Gail", "Gene",
    "Gia", "Gil", "Gina", "Glen", "Greg", "Gus", "Gwen", "Hal", "Hana", "Hank", "Hans", "Hope",
    "Hugo", "Ian", "Ida", "Ike", "Ila", "Ina", "Inga", "Ira", "Iris", "Isa", "Ivan", "Ivy", "Jack",
    "Jade", "Jan", "Jay", "Jean", "Jeff", "Jess", "Jill", "Jim", "Jo", "Joan", "Joe", "John", "Jon",
    "Jose", "Josh", "Joy", "Juan", "Judy", "June", "Kai", "Kara", "Kate", "Kay", "Ken", "Kim",
    "Kip", "Kira", "Kit", "Kurt", "Kyle", "Lana", "Lars", "Lea", "Lee", "Leo", "Lev", "Lia", "Lila",
    "Lin", "Lisa", "Liv", "Liz", "Lois", "Lola", "Lori", "Lou", "Luca", "Lucy", "Luis", "Luke",
    "Lyn", "Mae", "Mara", "Marc", "Mary", "Matt", "Max", "May", "Meg", "Mia", "Mila", "Milo",
    "Mina", "Mira", "Moe", "Mona", "Nan", "Nate", "Ned", "Neil", "Nell", "Nia", "Nick", "Nina",
    "Noa", "Noel", "Nora", "Ola", "Olga", "Omar", "Opal", "Oren", "Otis", "Otto", "Owen", "Pam",
    "Pat", "Paul", "Peg", "Pete", "Phil", "Pia", "Ping", "Rae", "Raj", "Ralf", "Ray", "Reed",
    "Rene", "Rex", "Rhea", "Rick", "Rita", "Rob", "Rolf", "Ron", "Rory", "Rosa", "Ross", "Roy",
    "Ruby", "Russ", "Ruth", "Sal", "Sam", "Sara", "Saul", "Sean", "Seth", "Sid", "Skye", "Sol",
    "Sue", "Tad", "Tara", "Ted", "Tess", "Theo", "Tia", "Tim", "Tina", "Todd", "Tom", "Toni",
    "Troy", "Uma", "Una", "Uri", "Val", "Vera", "Vic", "Wade", "Walt", "Wes", "Yan", "Yoko", "Yuri",
    "Zach", "Zane", "Zoe",
};

static const struct option options[] = {
    {"steps", OPTION_INT, offsetof(struct lemmas_param, steps), 16, 1, MAX_STEPS,
     NULL, "statements, people and lemmas of a problem"},
    {"lifetime", OPTION_REAL, offsetof(struct lemmas_param, lifetime), 4, 0.01, 1000,
     NULL, "tau: the chance of re-use falls as exp(-age / tau)"},
    {"phoenix", OPTION_REAL, offsetof(struct lemmas_param, phoenix), 0.1, 0, 1,
     NULL, "share of references that go to any earlier lemma instead"},
    {"reuse", OPTION_CHOICE, offsetof(struct lemmas_param, reuse), REUSE_LRU, 0, 0,
     "lru|birth|uniform|periodic", "age: from last use, from birth, flat, or in cycles of 2 tau"},
    {"seed", OPTION_INT, offsetof(struct lemmas_param, seed), 1, 0, 9007199254740991.0,
     NULL, "another seed, other problems"},
    OPTION_END,
};
// clang-format on

#define N_NAMES ((int)(sizeof names / sizeof *names))
#define N_OBJECTS ((uint32_t)(sizeof objects / sizeof *objects))
_Static_assert(sizeof names / sizeof *names >= MAX_STEPS, "every person of a problem needs a name");

/* exp(-x) for x >= 0. libm's last bit differs between machines, this one's doesn't. */
static double decay(double x) {
    if (x > 64)
        return 0;
    double y = x / 1024, term = 1, sum = 1;
    for (int k = 1; k < 8; k++) {
        term *= -y / k;
        sum += term;
    }
    for (int k = 0; k < 10; k++)
        sum *= sum;
    return sum;
}

/* Age of lemma j at step now, in units of its law's decay. */
static double age(const struct lemmas_param *p, const struct story *s, int j, int now) {
    switch (p->reuse) {
    case REUSE_LRU:
        return (now - s->steps[j].last_use) / p->lifetime;
    case REUSE_BIRTH:
        return (now - j) / p->lifetime;
    case REUSE_PERIODIC: {
        int period = p->lifetime < 1 ? 2 : (int)(2 * p->lifetime + 0.5);
        int phase = (now - j) % period;
        return phase < period - phase ? phase : period - phase;
    }
    default:
        return 0;
    }
}

/* Draws the step that step `now` refers to; never `except` (-1: any will do). */
static int draw_reference(const struct lemmas_param *p, const struct story *s, int now, int except,
                          struct rng *rng) {
    bool anywhere = rng_real(rng) < p->phoenix;
    double ages[MAX_STEPS], youngest = 1e300, total = 0, weight[MAX_STEPS];
    for (int j = 0; j < now; j++) {
        ages[j] = anywhere ? 0 : age(p, s, j, now);
        if (j != except && ages[j] < youngest)
            youngest = ages[j];
    }
    /* Relative to the youngest: a tiny lifetime must not make every weight vanish. */
    for (int j = 0; j < now; j++) {
        weight[j] = j == except ? 0 : decay(ages[j] - youngest);
        total += weight[j];
    }
    double left = rng_real(rng) * total;
    int chosen = -1;
    for (int j = 0; j < now && (chosen < 0 || left >= 0); j++) {
        if (weight[j] > 0)
            chosen = j;
        left -= weight[j];
    }
    return chosen;
}

static void refer(struct story *s, int now, int other) {
    struct statement *t = &s->steps[now];
    t->other[t->n_others++] = other;
    s->steps[other].last_use = now;
    s->n_references++;
}

static void draw_statement(const struct lemmas_param *p, struct story *s, int now,
                           struct rng *rng) {
    struct statement *t = &s->steps[now];
    int first = draw_reference(p, s, now, -1, rng);
    int base = s->steps[first].value;
    uint32_t roll = rng_below(rng, 100);
    if (roll < 25 && now >= 2) {
        int second = draw_reference(p, s, now, first, rng);
        if (base + s->steps[second].value <= VALUE_MAX) {
            t->kind = TOGETHER;
            t->amount = s->steps[second].value;
            t->value = base + t->amount;
            refer(s, now, first);
            refer(s, now, second);
            return;
        }
    }
    refer(s, now, first);
    if (roll >= 25 && roll < 35 && 2 * base <= VALUE_MAX) {
        t->kind = TWICE;
        t->amount = base;
        t->value = 2 * base;
        return;
    }
    do {
        t->value = VALUE_MIN + (int)rng_below(rng, VALUE_MAX - VALUE_MIN + 1);
        t->amount = abs(t->value - base);
    } while (t->amount < 2); /* "1 more shells" is no English */
    t->kind = t->value > base ? MORE : FEWER;
}

static void draw_story(const struct lemmas_param *p, int64_t i, struct story *s) {
    struct rng rng = {rng_key(rng_key(0x6c656d6d6173u, (uint64_t)p->seed), (uint64_t)i), 0};
    const char *deck[N_NAMES];
    for (int k = 0; k < N_NAMES; k++)
        deck[k] = names[k];
    s->n = (int)p->steps;
    s->n_references = 0;
    s->object = objects[rng_below(&rng, N_OBJECTS)];
    for (int now = 0; now < s->n; now++) {
        struct statement *t = &s->steps[now];
        uint32_t pick = (uint32_t)now + rng_below(&rng, (uint32_t)(N_NAMES - now));
        *t = (struct statement){.name = deck[pick], .kind = FACT, .last_use = now};
        deck[pick] = deck[now];
        if (now == 0)
            t->value = VALUE_MIN + (int)rng_below(&rng, VALUE_MAX - VALUE_MIN + 1);
        else
            draw_statement(p, s, now, &rng);
    }
    s->asked = draw_reference(p, s, s->n, -1, &rng);
}

/* --- telling it ------------------------------------------------------------- */

struct text {
    char *data;
    size_t size, room;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...) {
    for (;;) {
        va_list args;
        va_start(args, format);
        int n = vsnprintf(t->data + t->size, t->room - t->size, format, args);
        va_end(args);
        CHECK(n >= 0);
        if (t->size + (size_t)n < t->room) {
            t->size += (size_t)n;
            return;
        }
        t->room = 2 * t->room + (size_t)n + 1;
        t->data = must_realloc(t->data, t->room);
    }
}

static void put_statement(struct text *out, const struct story *s, int step) {
    const struct statement *t = &s->steps[step];
    const char *first = s->steps[t->other[0]].name, *second = s->steps[t->other[1]].name;
    put(out, "%s has ", t->name);
    switch (t->kind) {
    case FACT:
        put(out, "%d %s.", t->value, s->object);
        break;
    case MORE:
        put(out, "%d more %s than %s.", t->amount, s->object, first);
        break;
    case FEWER:
        put(out, "%d fewer %s than %s.", t->amount, s->object, first);
        break;
    case TWICE:
        put(out, "twice as many %s as %s.", s->object, first);
        break;
    case TOGETHER:
        put(out, "as many %s as %s and %s together.", s->object, first, second);
        break;
    }
}

/* "Compute 42+39: 2+9+0=11, 4+3+1=8," or "Compute 42-35: 12-5-0=7, 4-3-1=0,": units first, the
 * third number is the carry or borrow. */
static void put_computation(struct text *out, int a, int b, char sign) {
    put(out, " Compute %d%c%d:", a, sign, b);
    int carry = 0;
    for (; a > 0 || b > 0; a /= 10, b /= 10) {
        int x = a % 10, y = b % 10, result = x + y + carry;
        if (sign == '-') {
            bool borrow = x < y + carry;
            x += borrow ? 10 : 0;
            put(out, " %d-%d-%d=%d,", x, y, carry, x - y - carry);
            carry = borrow;
        } else {
            put(out, " %d+%d+%d=%d,", x, y, carry, result);
            carry = result / 10;
        }
    }
}

static struct span put_value(struct text *out, int value, int step, int source) {
    struct span span = {.from = (int32_t)out->size, .step = step, .source = source};
    put(out, "%d", value);
    span.to = (int32_t)out->size;
    return span;
}

static void put_step(struct text *out, const struct story *s, int step, struct problem *p) {
    const struct statement *t = &s->steps[step];
    put(out, "Step %d: ", step + 1);
    put_statement(out, s, step);
    for (int k = 0; k < t->n_others; k++) {
        const struct statement *source = &s->steps[t->other[k]];
        put(out, " Recall %s has ", source->name);
        p->uses[p->n_uses++] = put_value(out, source->value, step, t->other[k]);
        put(out, ".");
    }
    if (t->kind != FACT)
        put_computation(out, s->steps[t->other[0]].value, t->amount, t->kind == FEWER ? '-' : '+');
    put(out, " So %s has ", t->name);
    p->lemmas[p->n_lemmas++] = put_value(out, t->value, step, -1);
    put(out, " %s.\n", s->object);
}

static bool lemmas_get(const void *param, int64_t i, struct problem *out, struct err *e) {
    const struct lemmas_param *p = param;
    if (i < 0)
        return err_set(e, EXIT_USAGE, "lemmas: problem %lld: expected 0 or more", (long long)i);
    struct story s;
    draw_story(p, i, &s);
    *out = (struct problem){.n_steps = s.n};
    snprintf(out->id, sizeof out->id, "lemmas-%d-%lld-%lld", s.n, (long long)p->seed, (long long)i);
    out->lemmas = must_alloc((size_t)s.n * sizeof *out->lemmas);
    out->uses = must_alloc((size_t)(s.n_references + 1) * sizeof *out->uses);
    out->dep_start = must_alloc((size_t)(s.n + 1) * sizeof *out->dep_start);
    out->deps = must_alloc((size_t)(s.n_references + 1) * sizeof *out->deps);

    struct text prompt = {0}, solution = {0}, answer = {0};
    put(&prompt, "Some friends count %s.", s.object);
    int n_deps = 0;
    for (int step = 0; step < s.n; step++) {
        put(&prompt, " ");
        put_statement(&prompt, &s, step);
        put_step(&solution, &s, step, out);
        out->dep_start[step] = n_deps;
        for (int k = 0; k < s.steps[step].n_others; k++)
            out->deps[n_deps++] = s.steps[step].other[k];
    }
    out->dep_start[s.n] = n_deps;
    put(&prompt, " How many %s does %s have?\n", s.object, s.steps[s.asked].name);
    put(&solution, "The answer is ");
    out->uses[out->n_uses++] = put_value(&solution, s.steps[s.asked].value, s.n, s.asked);
    put(&solution, ".");
    put(&answer, "%d", s.steps[s.asked].value);
    out->prompt = prompt.data;
    out->solution = solution.data;
    out->answer = answer.data;
    return true;
}

const struct dataset dataset_lemmas = {
    .name = "lemmas",
    .summary = "generated stories whose reasoning, milestones and re-uses are known",
    .options = options,
    .param_size = sizeof(struct lemmas_param),
    .get = lemmas_get,
    .metric = "chain",
};
