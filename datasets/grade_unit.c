/* Units: what they are called, what they are to one another, and which words are none. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "datasets/grade_text.h"

/* Names of one unit, the first its own; `size` of the smallest of its kind; kind 0: alone. */
static const struct unit {
    int kind;
    long size;
    const char *names[7];
} units[] = {
    {0, 1, {"percent", "percentage", "pct"}},
    {1, 1, {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}},
    {1, 10, {"cm", "centimeter", "centimeters", "centimetre", "centimetres"}},
    {1, 1000, {"m", "meter", "meters", "metre", "metres"}},
    {1, 1000000, {"km", "kilometer", "kilometers", "kilometre", "kilometres"}},
    {2, 1, {"in", "inch", "inches"}},
    {2, 12, {"ft", "foot", "feet"}},
    {2, 36, {"yd", "yard", "yards"}},
    {2, 63360, {"mi", "mile", "miles"}},
    {3, 1, {"g", "gram", "grams"}},
    {3, 1000, {"kg", "kilogram", "kilograms"}},
    {4, 1, {"oz", "ounce", "ounces"}},
    {4, 16, {"lb", "lbs", "pound", "pounds"}},
    {5, 1, {"s", "sec", "second", "seconds", "secs"}},
    {5, 60, {"min", "minute", "minutes", "mins"}},
    {5, 3600, {"h", "hr", "hrs", "hour", "hours"}},
    {5, 86400, {"day", "days"}},
    {5, 604800, {"week", "weeks"}},
    {6, 1, {"month", "months"}},
    {6, 12, {"yr", "year", "years"}},
    {7, 1, {"cent", "cents"}},
    {7, 100, {"dollar", "dollars"}},
    {0, 1, {"degree", "degrees", "deg"}},
    {0, 1, {"mi/h", "mph"}},
    {8, 1, {"ml", "milliliter", "milliliters", "millilitre", "millilitres"}},
    {8, 1000, {"liter", "liters", "litre", "litres"}},
    {0, 1, {"unit", "units"}}, /* of whatever kind */
};

static const struct unit *find(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        for (int k = 0; k < 7 && units[i].names[k]; k++)
            if (text_is(name, n, units[i].names[k]))
                return &units[i];
    return NULL;
}

const char *unit_name(const char *plain) {
    const struct unit *unit = find(plain, strlen(plain));
    return unit ? unit->names[0] : NULL;
}

bool unit_is_none(const char *plain) {
    static const char *const words[] = {"is",   "are",    "not",  "to",   "out",      "remainder",
                                        "more", "less",   "than", "am",   "positive", "negative",
                                        "pm",   "or",     "and",  "noon", "bc",       "ad",
                                        "base", "modulo", "mod",  "over", NULL};
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], plain))
            return true;
    return strpbrk(plain, "0123456789=<>+");
}

const char *unit_scale(const char *plain, bool *below) {
    static const char *const scales[][3] = {
        {"dozen", "dozens", "12"},
        {"hundred", "hundreds", "100"},
        {"thousand", "thousands", "1000"},
        {"million", "millions", "1000000"},
        {"billion", "billions", "1000000000"},
        {"trillion", "trillions", "1000000000000"},
        {"half", "halves", "2"}, /* from here on: below the line */
        {"third", "thirds", "3"},
        {"fourth", "fourths", "4"},
        {"quarter", "quarters", "4"},
        {"fifth", "fifths", "5"},
        {"sixth", "sixths", "6"},
        {"seventh", "sevenths", "7"},
        {"eighth", "eighths", "8"},
        {"ninth", "ninths", "9"},
        {"tenth", "tenths", "10"},
        {"hundredth", "hundredths", "100"},
        {"thousandth", "thousandths", "1000"},
    };
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (!strcasecmp(scales[i][0], plain) || !strcasecmp(scales[i][1], plain)) {
            *below = i >= 6;
            return scales[i][2];
        }
    return NULL;
}

/* --- two of them ------------------------------------------------------------------------------ */

/* "cm^2": the unit and its power; NULL: none that is known, or more than one. */
static const struct unit *single(const char *unit, int *power) {
    size_t n = strcspn(unit, "^");
    *power = 1;
    if (unit[n] && (sscanf(unit + n, "^%1d", power) != 1 || unit[n + 2]))
        return NULL;
    return find(unit, n);
}

/* b says no more than a, or leaves its last words out: "apples" of "red apples", "feet tall". */
static bool shorter(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n <= m)
        return false;
    bool plural = m >= 3 && (!strcmp(a + m, "s") || !strcmp(a + m, "es"));
    if (!strncmp(a, b, m) && (a[m] == ' ' || plural))
        return true;
    return a[n - m - 1] == ' ' && !strcmp(a + n - m, b) && !strchr(a, '/');
}

bool unit_same(const char *a, const char *b) {
    if (!*a || !*b || !strcmp(a, b) || !strcmp(a, "unit") || !strcmp(b, "unit"))
        return true;
    int p, q;
    const struct unit *x = single(a, &p), *y = single(b, &q);
    const char *any = x && !strcmp(x->names[0], "unit")   ? b
                      : y && !strcmp(y->names[0], "unit") ? a
                                                          : NULL;
    if (any) { /* "square units" are of any kind, but square */
        const char *raised = strchr(any, '^');
        return raised && raised[1] == '0' + (any == b ? p : q);
    }
    if (x && y)
        return false;
    return shorter(a, b) || shorter(b, a);
}

bool unit_ratio(const char *a, const char *b, long *of_a, long *of_b, int *power) {
    int p, q;
    const struct unit *x = single(a, &p), *y = single(b, &q);
    if (!x || !y || !x->kind || x->kind != y->kind || p != q || p < 1 || x == y)
        return false;
    *of_a = x->size, *of_b = y->size, *power = p;
    return true;
}
