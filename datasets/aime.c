/* aime: problems of the American Invitational Mathematics Examination, whose answers are whole
 * numbers from 0 to 999. Three files go round: 2024 ({"id", "problem", "answer", ...}, as
 * HuggingFaceH4/aime_2024; in math-ai/aime24 the answer is "solution": "\\boxed{204}"), 2025
 * ({"problem" or "question", "answer"}, as math-ai/aime25 and opencompass/AIME2025), and 1983 to
 * 2024 ({"ID", "Year", "Question", "Answer"}, as gneubig/aime-1983-2024, converted to JSON lines).
 */
#include <string.h>

#include "datasets/problems.h"

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"", "\nThe answer is a whole number from 0 to 999. Please reason step by step, and put your final answer within \\boxed{}."},
    {"", ""},
};
static const struct option options[] = {
    PROBLEM_PATH_ROW("aime24/test.jsonl, aime25/test.jsonl or aime/test.jsonl"),
    {"years", OPTION_CHOICE, offsetof(struct problem_param, file), 0, 0, 0, "2024|2025|1983-2024",
     "which file"},
    PROBLEM_VARIANT_ROW("boxed|paper|range|bare", "Qwen's and DeepSeek's, RaaS's, with the range of answers, the question"),
    OPTION_END,
};
// clang-format on

/* Takes `start` and `end` away from around a text; false, with nothing done, where one is missing.
 */
static bool peel(const char **from, size_t *n, const char *start, const char *end) {
    size_t a = strlen(start), b = strlen(end);
    if (*n < a + b || memcmp(*from, start, a) != 0 || memcmp(*from + *n - b, end, b) != 0)
        return false;
    *from += a, *n -= a + b;
    return true;
}

/* 204, "204", "\\boxed{204}" or "$204^\\circ$": a whole number, and nothing else but what it is
 * written in. */
static char *gold(const char *answer) {
    static const char *const shells[][2] = {{" ", ""},         {"", " "},       {"$", "$"},
                                            {"\\boxed{", "}"}, {"", "^\\circ"}, {"", "^{\\circ}"}};
    const char *from = answer;
    size_t n = strlen(answer);
    for (size_t i = 0; i < sizeof shells / sizeof *shells;)
        i = peel(&from, &n, shells[i][0], shells[i][1]) ? 0 : i + 1;
    while (n > 1 && *from == '0')
        from++, n--;
    if (n < 1 || n > 3 || strspn(from, "0123456789") < n)
        return NULL;
    char *out = must_strdup(from);
    out[n] = 0;
    return out;
}

#define NOTE "problems of the Mathematical Association of America"
static const struct problem_file files[] = {
    /* in the order of option years */
    {.name = "aime24/test.jsonl",
     .fetch = "aime",
     .url = "https://huggingface.co/datasets/math-ai/aime24/resolve/main/test.jsonl",
     .note = NOTE,
     .other_sha256 = "af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac"},
    {.name = "aime25/test.jsonl",
     .fetch = "aime:years=2025",
     .url = "https://huggingface.co/datasets/math-ai/aime25/resolve/main/test.jsonl",
     .note = NOTE},
    {.name = "aime/test.jsonl", .fetch = "aime:years=1983-2024", .note = NOTE},
};
static const struct problem_fields fields = {
    .question = {"problem", "Problem", "question", "Question"},
    .answer = {"answer", "Answer", "expected_answer", "solution"},
    .solution = {"solution", "Solution"},
    .id = {"id", "ID", "problem_idx"}};
static const struct problem_source source = {"aime",  files, variants,
                                             &fields, gold,  "a whole number from 0 to 999"};

const struct dataset dataset_aime = {
    .name = "aime",
    .summary =
        "American Invitational Mathematics Examination: 30 problems a year; read from a file",
    .options = options,
    .param_size = sizeof(struct problem_param),
    .source = &source,
    .metric = "box",
};
