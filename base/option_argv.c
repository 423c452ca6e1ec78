/* Command lines and their help, from the same tables as everything else in option.h. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/option_text.h"
#include "base/real.h"

/* --- help --------------------------------------------------------------------- */

#define HELP_WIDTH 100

/* "--max-new N": the left column. */
static void left_column(const struct option *o, char *out, size_t size) {
    const char *colon = strstr(o->help, ": ");
    size_t word = strspn(o->help, "ABCDEFGHIJKLMNOPQRSTUVWXYZ=,/");
    bool named = word && colon == o->help + word;
    const char *value = "";
    int value_size = 0;
    switch (o->type) {
    case OPTION_INT:
        value = "N";
        break;
    case OPTION_REAL:
        value = "X";
        break;
    case OPTION_CHOICE:
        value = o->choices;
        break;
    case OPTION_TEXT:
    case OPTION_STRING:
    case OPTION_LIST:
        value = named ? o->help : "TEXT";
        break;
    case OPTION_BOOL:
        break;
    }
    value_size = named && value == o->help ? (int)word : (int)strlen(value);
    int n = snprintf(out, size, "--%s%s%.*s%s", o->name, *value ? " " : "", value_size, value,
                     o->type == OPTION_LIST ? "..." : "");
    for (char *c = out; c < out + n && *c && *c != ' '; c++)
        if (*c == '_')
            *c = '-';
}

/* Help, default and range in one text. */
static void right_column(const struct option *o, char *out, size_t size) {
    const char *help = o->help;
    size_t word = strspn(help, "ABCDEFGHIJKLMNOPQRSTUVWXYZ=,/");
    if ((o->type == OPTION_TEXT || o->type == OPTION_LIST) && word &&
        !strncmp(help + word, ": ", 2))
        help += word + 2;
    char lo[REAL_TEXT], hi[REAL_TEXT], standard[REAL_TEXT];
    real_spell(o->min, lo);
    real_spell(o->max, hi);
    real_spell(o->standard, standard);
    size_t skip = 0;
    if (o->type == OPTION_INT || o->type == OPTION_REAL) {
        snprintf(out, size, "%s (default %s; %s to %s)", help, standard, lo, hi);
    } else if (o->type == OPTION_CHOICE) {
        const char *name = o->choices;
        for (int i = 0; i < (int)o->standard; i++) {
            name += strcspn(name, "|");
            name += *name == '|';
        }
        skip = strcspn(name, "|");
        snprintf(out, size, "%s (default %.*s)", help, (int)skip, name);
    } else if (o->type == OPTION_BOOL && o->standard != 0) {
        snprintf(out, size, "%s (on by default; --%s=0 turns it off)", help, o->name);
    } else {
        snprintf(out, size, "%s", help);
    }
}

/* Prints text in a column that starts at `indent`, broken between words. */
static void print_wrapped(const char *text, size_t indent) {
    size_t at = indent;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (at > indent && at + 1 + word > HELP_WIDTH) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            putchar(' ');
            at++;
        }
        fwrite(text, 1, word, stdout);
        at += word;
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

#define HELP_LEFT_MAX 30 /* a wider left column puts its help on the next line */

static void print_row(const char *left, size_t width, const char *right) {
    size_t n = strlen(left);
    printf("  %s", left);
    if (n > width) {
        putchar('\n');
        n = 0;
        printf("  ");
    }
    printf("%*s", (int)(width - n + 2), "");
    print_wrapped(right, width + 4);
}

static void print_help(const struct option *table, const char *usage, const char *about) {
    char left[300], right[1200];
    size_t width = strlen("--help");
    for (const struct option *o = table; o->name; o++) {
        left_column(o, left, sizeof left);
        size_t n = strlen(left);
        if (n > width && n <= HELP_LEFT_MAX)
            width = n;
    }
    printf("usage: %s\n", usage);
    if (about && *about)
        printf("\n%s\n", about);
    printf("\noptions:\n");
    for (const struct option *o = table; o->name; o++) {
        left_column(o, left, sizeof left);
        right_column(o, right, sizeof right);
        print_row(left, width, right);
    }
    print_row("--help", width, "this text");
}

/* --- parsing ------------------------------------------------------------------- */

static char folded(char c) { return c == '_' ? '-' : c; }

static bool same_name(const char *name, const char *flag, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (folded(name[i]) != folded(flag[i]))
            return false;
    return name[size] == 0;
}

/* `flag` without its leading dashes, up to '='. */
static const struct option *find_flag(const struct option *table, const char *flag) {
    for (; table->name; table++)
        if (same_name(table->name, flag, strcspn(flag, "=")))
            return table;
    return NULL;
}

/* Levenshtein distance, for "did you mean"; names longer than 31 count as far. */
static size_t distance(const char *a, const char *b, size_t n) {
    size_t m = strlen(a), row[32];
    if (m > 31 || n > 31)
        return 32;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t swap = diagonal + (folded(a[i - 1]) != folded(b[j - 1]));
            diagonal = row[j];
            size_t gap = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            row[j] = swap < gap ? swap : gap;
        }
    }
    return row[n];
}

static void tell_name(const char *name, char *out, size_t size) {
    snprintf(out, size, "--%s", name);
    for (char *c = out; *c; c++)
        *c = folded(*c);
}

static bool unknown_flag(const struct option *table, const char *what, const char *arg,
                         struct err *e) {
    const char *flag = arg + strspn(arg, "-");
    size_t n = strcspn(flag, "="), best = 3;
    const struct option *near = NULL;
    for (const struct option *o = table; o->name; o++) {
        size_t d = distance(o->name, flag, n);
        if (d < best) {
            best = d;
            near = o;
        }
    }
    int shown = (int)(strcspn(arg, "=") < 60 ? strcspn(arg, "=") : 60);
    if (!near)
        return err_set(e, EXIT_USAGE, "%s: unknown option %.*s; %s --help lists them", what, shown,
                       arg, what);
    char name[100];
    tell_name(near->name, name, sizeof name);
    return err_set(e, EXIT_USAGE, "%s: unknown option %.*s; did you mean %s?", what, shown, arg,
                   name);
}

/* A flag's value: behind '=', or the next argument unless that is itself one of our flags. */
static bool take_value(const struct option *table, const struct option *o, const char *label,
                       int argc, char **argv, int *i, const char **value, struct err *e) {
    const char *equals = strchr(argv[*i], '=');
    if (equals) {
        *value = equals + 1;
        return true;
    }
    if (o->type == OPTION_BOOL) {
        *value = "1";
        return true;
    }
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    bool flag = next && !strncmp(next, "--", 2) &&
                (!next[2] || !strcmp(next, "--help") || find_flag(table, next + 2));
    if (next && !flag) {
        *value = next;
        ++*i;
        return true;
    }
    char expected[300];
    option_expected(o, expected, sizeof expected);
    if (next)
        return err_set(e, EXIT_USAGE, "%s: expected %s before %s", label, expected, next);
    return err_set(e, EXIT_USAGE, "%s: expected %s after it", label, expected);
}

bool option_argv(const struct option *table, void *param, const char *usage, const char *about,
                 int argc, char **argv, int *n_args, struct err *e) {
    char what[64];
    snprintf(what, sizeof what, "raas %s", argc ? argv[0] : "");
    bool open = true; /* flags are still allowed */
    uint64_t seen = 0;
    *n_args = 0;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        bool dashed = arg[0] == '-' && arg[1] && !strchr("0123456789. ", arg[1]);
        if (!open || !dashed) {
            argv[(*n_args)++] = argv[i];
            continue;
        }
        if (!strcmp(arg, "--")) {
            open = false;
            continue;
        }
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            print_help(table, usage, about);
            exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_ENV);
        }
        const struct option *o = arg[1] == '-' ? find_flag(table, arg + 2) : NULL;
        if (!o)
            return unknown_flag(table, what, arg, e);
        char name[100], label[200];
        tell_name(o->name, name, sizeof name);
        snprintf(label, sizeof label, "%s: %s", what, name);
        const char *value = NULL;
        if (!take_value(table, o, label, argc, argv, &i, &value, e))
            return false;
        CHECK(o - table < 64);
        uint64_t bit = (uint64_t)1 << (o - table);
        if ((seen & bit) && o->type != OPTION_LIST && o->type != OPTION_BOOL)
            return err_set(e, EXIT_USAGE, "%s: given twice", label);
        seen |= bit;
        if (!option_assign(o, param, label, value, e))
            return false;
    }
    return true;
}
