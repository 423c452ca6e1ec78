/* raas logits: the numbers behind a decode, for comparison with other programs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/npy.h"
#include "commands/command.h"
#include "commands/common.h"

struct logits_param {
    struct common common;
    const char *ids, *policy, *out;
    int64_t prefill, seed;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct logits_param, name)
    {"ids", OPTION_TEXT, FIELD(ids), 0, 0, 0, NULL, "IDS: token ids: 1,2,3 or FILE.npy or @FILE"},
    {"prefill", OPTION_INT, FIELD(prefill), 0, 0, 1 << 24, NULL,
     "ids in the prefill, the others are one decode step each; 0 is all"},
    {"policy", OPTION_TEXT, FIELD(policy), 0, 0, 0, NULL, "NAME: cache policy (default full)"},
    {"out", OPTION_TEXT, FIELD(out), 0, 0, 0, NULL, "FILE: where the .npy goes"},
    SEED_ROW(struct logits_param, seed),
    COMMON_ROWS_OF(struct logits_param, common, COMMON_AUTO, PRECISIONS "|auto",
                   "fp32 is the reference path, bf16 the fast one; auto: fp32 on the CPU, bf16 on a GPU"),
    OPTION_END,
#undef FIELD
    // clang-format on
};

struct table {
    float *rows; /* [n][vocab] */
    size_t vocab;
    int n, filled;
};

static void keep_row(void *user, int position, const float *logits) {
    struct table *table = user;
    CHECK(position >= 0 && position < table->n);
    memcpy(table->rows + (size_t)position * table->vocab, logits, table->vocab * sizeof *logits);
    table->filled++;
}

static bool decode(struct session *session, const struct request *request, struct err *e) {
    struct event event;
    if (!session_add(session, request, e))
        return false;
    while (session_active(session))
        if (session_step(session, &event, e) < 0)
            return false;
    return true;
}

static bool logits(const struct logits_param *p, const struct model *model, struct err *e) {
    struct id_list ids = {0};
    struct plan plan;
    if (!policy_parse(p->policy ? p->policy : "full", &plan, e) ||
        !common_ids(p->ids, model, &ids, e)) {
        id_list_free(&ids);
        return false;
    }
    int n = (int)ids.count, prefill = p->prefill ? (int)p->prefill : n;
    struct table table = {.vocab = (size_t)model->config.vocab, .n = n};
    size_t shape[2] = {ids.count, table.vocab};
    struct session *session = NULL;
    bool ok =
        prefill <= n || err_set(e, EXIT_USAGE, "--prefill %d, but there are %d ids", prefill, n);
    ok = ok && (session = common_session(&p->common, model, 1, n, e));
    if (ok) {
        table.rows = must_alloc(shape[0] * shape[1] * sizeof *table.rows);
        struct request request = {.ids = ids.ids,
                                  .n_ids = prefill,
                                  .plan = &plan,
                                  .max_new = 1,
                                  .ignore_eos = true,
                                  .forced = prefill < n ? ids.ids + prefill : NULL,
                                  .n_forced = n - prefill,
                                  .key = common_key(p->seed, 0),
                                  .user = &table,
                                  .on_logits = keep_row};
        ok = decode(session, &request, e);
    }
    if (ok) {
        CHECK(table.filled == n);
        ok = npy_write_f32(p->out, 2, shape, table.rows, e);
    }
    if (ok)
        log_info("%s: %d positions of %zu logits", p->out, n, table.vocab);
    free(table.rows);
    session_close(session);
    id_list_free(&ids);
    return ok;
}

static const char usage[] = "raas logits --ids 1,2,3 [--prefill P] [--policy P] --out F.npy";
static const char summary[] = "fp32 logits of given ids, in prefill and decode, as .npy";

static int logits_run(int argc, char **argv, struct err *e) {
    struct logits_param param;
    if (!common_argv(options, &param, usage, summary, argc, argv, e))
        return e->code;
    if (!param.ids || !param.out)
        return err_set(e, EXIT_USAGE, "expected --ids and --out; usage: %s", usage), e->code;
    struct model *model = common_model(&param.common, e);
    if (model)
        logits(&param, model, e);
    model_close(model);
    return e->code;
}

const struct command command_logits = {
    .name = "logits",
    .usage = usage,
    .summary = summary,
    .run = logits_run,
};
