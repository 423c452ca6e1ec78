/* aime: problems of the American Invitational Mathematics Examination, whose answers are whole
 * numbers from 0 to 999. Three files go round: 2024 ({"id", "problem", "answer", ...}, as
 * HuggingFaceH4/aime_2024; in math-ai/aime24 the answer is "solution": "\\boxed{204}"), 2025
 * ({"problem" or "question", "answer"}, as math-ai/aime25 and opencompass/AIME2025), and 1983 to
 * 2024 ({"ID", "Year", "Question", "Answer"}, as gneubig/aime-1983-2024, converted to JSON lines).
 */
#include <string.h>

#include "datasets/problems.h"

enum { YEAR_2024, YEAR_2025, YEARS_ALL };

struct aime_param {
    char path[OPTION_STRING_ROOM];
    int years, variant;
};

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"", "\nThe answer is a whole number from 0 to 999. Please reason step by step, and put your final answer within \\boxed{}."},
    {"", ""},
};
static const struct option options[] = {
    {"path", OPTION_STRING, offsetof(struct aime_param, path), 0, 0, 0, NULL,
     "file of problems (default: aime24/test.jsonl, aime25/test.jsonl or aime/test.jsonl in $RAAS_DATA, or in datasets-data)"},
    {"years", OPTION_CHOICE, offsetof(struct aime_param, years), YEAR_2024, 0, 0,
     "2024|2025|1983-2024", "which file"},
    {"variant", OPTION_CHOICE, offsetof(struct aime_param, variant), 0, 0, 0,
     "boxed|paper|range|bare", "the prompt: Qwen's and DeepSeek's, RaaS's, with the range of answers, the question"},
    OPTION_END,
};
// clang-format on

/* 204, "204", "\\boxed{204}" or "$204^\\circ$": its digits, which are the only ones. */
static char *gold(const char *answer) {
    const char *from = answer + strcspn(answer, "0123456789");
    size_t n = strspn(from, "0123456789");
    if (n < 1 || n > 3 || strpbrk(from + n, "0123456789"))
        return NULL;
    while (n > 1 && *from == '0')
        from++, n--;
    char *out = must_strdup(from);
    out[n] = 0;
    return out;
}

static const char *const known_2024[] = {
    "af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac",
    NULL,
};
static const char *const none_known[] = {NULL};
static const struct problem_fields fields = {
    .question = {"problem", "Problem", "question", "Question"},
    .answer = {"answer", "Answer", "expected_answer", "solution"},
    .solution = {"solution", "Solution"},
    .id = {"id", "ID", "problem_idx"}};
static const struct problem_file files[] = {
    {"aime", "aime24/test.jsonl", known_2024, &fields, gold, "a whole number from 0 to 999"},
    {"aime", "aime25/test.jsonl", none_known, &fields, gold, "a whole number from 0 to 999"},
    {"aime", "aime/test.jsonl", none_known, &fields, gold, "a whole number from 0 to 999"},
};

static bool get(const void *param, int64_t i, struct problem *out, struct err *e) {
    const struct aime_param *p = param;
    return problems_get(&files[p->years], p->path, &variants[p->variant], i, out, e);
}

static int64_t count(const void *param, struct err *e) {
    const struct aime_param *p = param;
    return problems_count(&files[p->years], p->path, e);
}

static bool sha256(const void *param, char out[HASH_HEX], struct err *e) {
    const struct aime_param *p = param;
    return problems_sha256(&files[p->years], p->path, out, e);
}

const struct dataset dataset_aime = {
    .name = "aime",
    .summary =
        "American Invitational Mathematics Examination: 30 problems a year; read from a file",
    .options = options,
    .param_size = sizeof(struct aime_param),
    .get = get,
    .count = count,
    .metric = "box",
    .file_sha256 = sha256,
};
