/* gsm8k: grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168), the 1,319 of its test
 * split as OpenAI published them: {"question", "answer"}, where the answer is a solution that ends
 * in "#### 18". Gold is what stands behind ####. */
#include <ctype.h>
#include <string.h>

#include "datasets/problems.h"

struct gsm8k_param {
    char path[OPTION_STRING_ROOM];
    int variant;
};

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"", "\nThink step by step, and end with a line \"#### \" followed by the final answer."},
    {"Question: ", "\nAnswer:"},
    {"", ""},
};
static const struct option options[] = {
    {"path", OPTION_STRING, offsetof(struct gsm8k_param, path), 0, 0, 0, NULL,
     "file of problems (default: gsm8k/test.jsonl in $RAAS_DATA, or in datasets-data)"},
    {"variant", OPTION_CHOICE, offsetof(struct gsm8k_param, variant), 0, 0, 0,
     "boxed|paper|hashes|lm-eval|bare",
     "the prompt: Qwen's and DeepSeek's, RaaS's, \"#### 18\", lm-evaluation-harness's, the question"},
    OPTION_END,
};
// clang-format on

/* Behind the last ####. */
static char *gold(const char *answer) {
    const char *found = NULL;
    for (const char *at = answer; (at = strstr(at, "####")); at += 4)
        found = at + 4;
    while (found && isspace((unsigned char)*found))
        found++;
    return found && *found ? must_strdup(found) : NULL;
}

/* A field that is gold already stays as it is. */
static char *gold_of_field(const char *answer) {
    char *found = gold(answer);
    return found ? found : must_strdup(answer);
}

static const char *const known[] = {
    "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14", /* test.jsonl of
                                                                           openai/grade-school-math
                                                                         */
    NULL,
};
static const struct problem_fields fields = {
    .question = {"question"}, .answer = {"answer"}, .id = {"id"}};
static const struct problem_file file = {"gsm8k", "gsm8k/test.jsonl",          known, &fields,
                                         gold,    "a final answer behind ####"};

static bool get(const void *param, int64_t i, struct problem *out, struct err *e) {
    const struct gsm8k_param *p = param;
    return problems_get(&file, p->path, &variants[p->variant], i, out, e);
}

static int64_t count(const void *param, struct err *e) {
    return problems_count(&file, ((const struct gsm8k_param *)param)->path, e);
}

static bool sha256(const void *param, char out[HASH_HEX], struct err *e) {
    return problems_sha256(&file, ((const struct gsm8k_param *)param)->path, out, e);
}

const struct dataset dataset_gsm8k = {
    .name = "gsm8k",
    .summary = "grade-school word problems, 1,319 of them; read from a file",
    .options = options,
    .param_size = sizeof(struct gsm8k_param),
    .get = get,
    .count = count,
    .metric = "chain",
    .gold = gold_of_field,
    .file_sha256 = sha256,
};
