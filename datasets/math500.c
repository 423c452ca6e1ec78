/* math500: 500 problems of the MATH test split (Hendrycks et al. 2021, arXiv 2103.03874), chosen by
 * Lightman et al. 2023 (arXiv 2305.20050), as HuggingFaceH4/MATH-500 has them: {"problem",
 * "solution", "answer", "subject", "level", "unique_id"}. */
#include "datasets/problems.h"

// clang-format off
static const struct prompt_variant variants[] = {
    {"", PROMPT_BOXED},
    {"", PROMPT_PAPER},
    {"Problem:\n", "\n\nSolution:"},
    {"", ""},
};
static const struct option options[] = {
    PROBLEM_PATH_ROW("math500/test.jsonl"),
    PROBLEM_VARIANT_ROW("boxed|paper|minerva|bare", "Qwen's and DeepSeek's, RaaS's, that of Minerva and lm-evaluation-harness, the question"),
    OPTION_END,
};
// clang-format on

static const struct problem_file file = {
    .name = "math500/test.jsonl",
    .fetch = "math500",
    .url = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl",
    .note = "problems of third parties; MATH itself was taken down from where it was published",
    /* the same problems without unique_id */
    .other_sha256 = "34943b1a3660c7dc63c7bc89b5ecefc0ffdeeee32501c2ad161cdec34d7a4b4c",
};
static const struct problem_fields fields = {.question = {"problem", "question"},
                                             .answer = {"answer"},
                                             .solution = {"solution"},
                                             .id = {"unique_id", "id"}};
static const struct problem_source source = {
    .dataset = "math500", .files = &file, .variants = variants, .fields = &fields};

const struct dataset dataset_math500 = {
    .name = "math500",
    .summary = "competition problems of the MATH test split, 500 of them; read from a file",
    .options = options,
    .param_size = sizeof(struct problem_param),
    .source = &source,
    .metric = "box",
};
