/* math500: 500 problems of the MATH test split (Hendrycks et al. 2021, arXiv 2103.03874), chosen by
 * Lightman et al. 2023 (arXiv 2305.20050), as HuggingFaceH4/MATH-500 has them: {"problem",
 * "solution", "answer", "subject", "level", "unique_id"}. */
#include "datasets/problems.h"

struct math500_param {
    char path[OPTION_STRING_ROOM];
    int variant;
};

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"Problem:\n", "\n\nSolution:"},
    {"", ""},
};
static const struct option options[] = {
    {"path", OPTION_STRING, offsetof(struct math500_param, path), 0, 0, 0, NULL,
     "file of problems (default: math500/test.jsonl in $RAAS_DATA, or in datasets-data)"},
    {"variant", OPTION_CHOICE, offsetof(struct math500_param, variant), 0, 0, 0,
     "boxed|paper|minerva|bare",
     "the prompt: Qwen's and DeepSeek's, RaaS's, that of Minerva and lm-evaluation-harness, the question"},
    OPTION_END,
};
// clang-format on

static const char *const known[] = {
    /* without unique_id */
    "34943b1a3660c7dc63c7bc89b5ecefc0ffdeeee32501c2ad161cdec34d7a4b4c",
    NULL,
};
static const struct problem_fields fields = {.question = {"problem", "question"},
                                             .answer = {"answer"},
                                             .solution = {"solution"},
                                             .id = {"unique_id", "id"}};
static const struct problem_file file = {"math500", "math500/test.jsonl", known, &fields, NULL,
                                         NULL};

static bool get(const void *param, int64_t i, struct problem *out, struct err *e) {
    const struct math500_param *p = param;
    return problems_get(&file, p->path, &variants[p->variant], i, out, e);
}

static int64_t count(const void *param, struct err *e) {
    return problems_count(&file, ((const struct math500_param *)param)->path, e);
}

static bool sha256(const void *param, char out[HASH_HEX], struct err *e) {
    return problems_sha256(&file, ((const struct math500_param *)param)->path, out, e);
}

const struct dataset dataset_math500 = {
    .name = "math500",
    .summary = "competition problems of the MATH test split, 500 of them; read from a file",
    .options = options,
    .param_size = sizeof(struct math500_param),
    .get = get,
    .count = count,
    .metric = "box",
    .file_sha256 = sha256,
};
