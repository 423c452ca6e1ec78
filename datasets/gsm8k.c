/* gsm8k: grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168), the 1,319 of its test
 * split as OpenAI published them: {"question", "answer"}, where the answer is a solution that ends
 * in "#### 18". Gold is what stands behind ####. */
#include <ctype.h>
#include <string.h>

#include "datasets/problems.h"

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"", "\nThink step by step, and end with a line \"#### \" followed by the final answer."},
    {"Question: ", "\nAnswer:"},
    {"", ""},
};
static const struct option options[] = {
    PROBLEM_PATH_ROW("gsm8k/test.jsonl"),
    PROBLEM_VARIANT_ROW("boxed|paper|hashes|lm-eval|bare", "Qwen's and DeepSeek's, RaaS's, \"#### 18\", lm-evaluation-harness's, the question"),
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

static const struct problem_file file = {
    .name = "gsm8k/test.jsonl",
    .fetch = "gsm8k",
    .url = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/"
           "data/test.jsonl",
    .note = "MIT license",
    .sha256 = "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
};
static const struct problem_fields fields = {
    .question = {"question"}, .answer = {"answer"}, .id = {"id"}};
static const struct problem_source source = {"gsm8k", &file, variants,
                                             &fields, gold,  "a final answer behind ####"};

const struct dataset dataset_gsm8k = {
    .name = "gsm8k",
    .summary = "grade-school word problems, 1,319 of them; read from a file",
    .options = options,
    .param_size = sizeof(struct problem_param),
    .source = &source,
    .metric = "chain",
};
