/* raas bench: looks up what is to be measured. */
#include "commands/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/common.h"

#define USAGE "raas bench cpu|gpu|growth|breakdown|record|mine [options]"
#define ABOUT                                                                              \
    "decode speed beside what the machine could do at best in the same minute;\n"          \
    "growth: time and memory against decoded tokens; breakdown: prefill against decode;\n" \
    "record: what recording attention costs; mine: rows of attention a second.\n"          \
    "`raas bench cpu --help` and so on name what each takes"

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

bool bench_parse_numbers(const char *text, const char *flag, int max, struct bench_numbers *out,
                         struct err *e) {
    *out = (struct bench_numbers){0};
    for (const char *at = text;; at++) {
        char *end;
        long value = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : 0;
        if (value < 1 || value > max || out->count == BENCH_NUMBERS || (*end && *end != ','))
            return err_set(e, EXIT_USAGE, "--%s %s: expected at most %d numbers from 1 to %d", flag,
                           text, BENCH_NUMBERS, max);
        out->items[out->count++] = (int)value;
        at = end;
        if (!*at)
            break;
    }
    qsort(out->items, (size_t)out->count, sizeof *out->items, ascending);
    return true;
}

double bench_quantile(double *values, int n, double share) {
    for (int i = 1; i < n; i++) /* few of them */
        for (int j = i; j > 0 && values[j - 1] > values[j]; j--) {
            double swap = values[j];
            values[j] = values[j - 1], values[j - 1] = swap;
        }
    double at = share * (n - 1);
    int below = (int)at;
    return below + 1 < n ? values[below] + (at - below) * (values[below + 1] - values[below])
                         : values[below];
}

static int bench_run(int argc, char **argv, struct err *e) {
    static const struct option none[] = {OPTION_END};
    static const struct {
        const char *word;
        int (*run)(int argc, char **argv, struct err *e);
    } parts[] = {{"cpu", bench_cpu},       {"gpu", bench_gpu},
                 {"growth", bench_growth}, {"breakdown", bench_breakdown},
                 {"record", bench_record}, {"mine", bench_mine}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (argc > 1 && !strcmp(argv[1], parts[i].word)) {
            /* flags follow the word; errors name the command */
            memmove(argv + 1, argv + 2, (size_t)(argc - 1) * sizeof *argv);
            return parts[i].run(argc - 1, argv, e);
        }
    char nothing;
    if (argc > 1 && argv[1][0] != '-')
        err_set(e, EXIT_USAGE,
                "bench '%s': expected cpu, gpu, growth, breakdown, record or mine; usage: " USAGE,
                argv[1]);
    else if (common_argv(none, &nothing, USAGE, ABOUT, argc, argv, e))
        err_set(e, EXIT_USAGE, "nothing to measure; usage: " USAGE);
    return e->code;
}

const struct command command_bench = {
    .name = "bench",
    .usage = USAGE,
    .summary = "speed beside what the machine could do at best",
    .run = bench_run,
};
