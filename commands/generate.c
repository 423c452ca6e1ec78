/* raas generate: answers one prompt as a stream, or a file of prompts as a batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "commands/stream.h"
#include "engine/chat.h"

struct generate_param {
    struct common common;
    const char *policy, *prompt, *prompt_file, *ids, *jsonl, *template;
    int64_t max_new, min_new, seed, batch;
    double temperature, top_p;
    bool ignore_eos, json;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct generate_param, name)
    {"policy", OPTION_TEXT, FIELD(policy), 0, 0, 0, NULL,
     "NAME: cache policy and its options, e.g. raas:budget=256,r=0.5 (default full)"},
    {"prompt", OPTION_TEXT, FIELD(prompt), 0, 0, 0, NULL, "TEXT: the prompt"},
    {"prompt-file", OPTION_TEXT, FIELD(prompt_file), 0, 0, 0, NULL,
     "FILE: the prompt, every byte of it; - is stdin"},
    {"ids", OPTION_TEXT, FIELD(ids), 0, 0, 0, NULL,
     "IDS: the prompt as token ids: 1,2,3 or FILE.npy or @FILE"},
    {"jsonl", OPTION_TEXT, FIELD(jsonl), 0, 0, 0, NULL,
     "FILE: one {\"prompt\": TEXT} or {\"ids\": [...]} a line (- is stdin); answers as JSON in the same order"},
    {"template", OPTION_TEXT, FIELD(template), 0, 0, 0, NULL,
     "NAME: chat template around prompts: auto (the model's, where it has one), none, or one of raas list templates"},
    {"max-new", OPTION_INT, FIELD(max_new), 0, 0, 1 << 24, NULL,
     "new tokens at most, the end token counted; 0 is the model's limit"},
    {"min-new", OPTION_INT, FIELD(min_new), 0, 0, 1 << 24, NULL,
     "tokens before the end token may come"},
    {"ignore-eos", OPTION_BOOL, FIELD(ignore_eos), 0, 0, 1, NULL, "never end by the end token"},
    {"temperature", OPTION_REAL, FIELD(temperature), 0, 0, 100, NULL, "0 is greedy"},
    {"top-p", OPTION_REAL, FIELD(top_p), 1, 1e-6, 1, NULL,
     "sample from the likeliest tokens that hold this share; 1 is all"},
    {"batch", OPTION_INT, FIELD(batch), 32, 1, SESSION_WIDTH, NULL, "sequences in flight with --jsonl"},
    SEED_ROW(struct generate_param, seed),
    COMMON_ROWS(struct generate_param, common, PRECISION_BF16),
    JSON_ROW(struct generate_param, json),
    OPTION_END,
#undef FIELD
    // clang-format on
};

/* One request on its way. */
struct job {
    struct id_list prompt, ids; /* ids: generated, end token excluded */
    bool added, done;
    enum finish finish;
    struct sequence_stats stats;
    struct err error;
};

struct generator {
    const struct generate_param *param;
    struct plan plan;
    struct model *model; /* owned */
    struct chat chat;
    struct session *session; /* owned */
    struct event *events;    /* [width of the session], owned */
    struct job *jobs;        /* owned */
    int n_jobs, n_told;
    struct stream *stream; /* of the only job; NULL with JSON */
    bool begun;            /* some of its text is out */
};

/* --- requests --------------------------------------------------------------------- */

static int max_new(const struct generator *g, const struct job *job) {
    int room = g->model->config.max_positions - (int)job->prompt.count;
    room = room < 1 ? 1 : room;
    return g->param->max_new && g->param->max_new < room ? (int)g->param->max_new : room;
}

/* The prompt of the command line, from wherever it comes. */
static bool read_prompt(const struct generator *g, struct job *job, struct err *e) {
    const struct generate_param *p = g->param;
    if (p->ids)
        return common_ids(p->ids, g->model, &job->prompt, e);
    size_t size = p->prompt ? strlen(p->prompt) : 0;
    char *text = p->prompt ? must_strdup(p->prompt) : common_read(p->prompt_file, &size, e);
    const char *what = p->prompt ? "--prompt" : p->prompt_file;
    int code = p->prompt ? EXIT_USAGE : EXIT_CONTENT;
    bool ok = text && (size || err_set(e, code, "%s: empty, expected a prompt", what));
    if (ok && !chat_encode(g->model, &g->chat, text, size, &job->prompt, e))
        ok = err_in(e, "%s", what);
    ok = ok && common_check_ids(g->model, job->prompt.ids, job->prompt.count, what, code, e);
    free(text);
    return ok;
}

static bool read_line(const struct generator *g, struct job *job, const char *line, size_t size,
                      const char *what, struct err *e) {
    struct json_doc *doc = json_parse(line, size, what, e);
    if (!doc)
        return false;
    const struct json *root = json_root(doc);
    const struct json *prompt = json_get(root, "prompt"), *ids = json_get(root, "ids");
    const char *text = prompt ? json_text(prompt) : NULL;
    bool ok;
    if (!prompt == !ids)
        ok = err_set(e, EXIT_CONTENT, "%s: expected either \"prompt\" or \"ids\"", what);
    else if (prompt && (!text || !*text))
        ok = err_set(e, EXIT_CONTENT, "%s: \"prompt\" is %s", what, text ? "empty" : "no text");
    else if (prompt)
        ok = chat_encode(g->model, &g->chat, text, strlen(text), &job->prompt, e) ||
             err_in(e, "%s", what);
    else
        ok = id_list_read(&job->prompt, ids, e) || err_in(e, "%s", what);
    json_free(doc);
    return ok &&
           common_check_ids(g->model, job->prompt.ids, job->prompt.count, what, EXIT_CONTENT, e);
}

/* One job a line; a bad line is a job that is done with an error. */
static bool read_jobs(struct generator *g, struct err *e) {
    const char *path = g->param->jsonl;
    size_t size;
    char *text = common_read(path, &size, e);
    if (!text)
        return false;
    for (char *line = text, *end = text + size; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        char what[300];
        snprintf(what, sizeof what, "line %d of %s", g->n_jobs + 1, path);
        g->jobs = must_realloc(g->jobs, (size_t)(g->n_jobs + 1) * sizeof *g->jobs);
        struct job *job = memset(&g->jobs[g->n_jobs++], 0, sizeof *job);
        size_t n = (size_t)(stop - line);
        job->done =
            !read_line(g, job, line, n && line[n - 1] == '\r' ? n - 1 : n, what, &job->error);
        line = stop + 1;
    }
    free(text);
    return g->n_jobs || err_set(e, EXIT_CONTENT, "%s: empty, expected a request a line", path);
}

/* --- answers ------------------------------------------------------------------------ */

static void print_json(const struct generator *g, const struct job *job) {
    struct json_out o = {0};
    json_open(&o, '{');
    if (job->error.code) {
        json_add_text(&o, "error", job->error.text);
    } else {
        size_t size;
        json_name(&o, "ids");
        json_put_ids(&o, job->ids.ids, job->ids.count);
        json_name(&o, "text");
        char *text = g->model->tokenizer ? tokenizer_decode(g->model->tokenizer, job->ids.ids,
                                                            job->ids.count, true, &size, NULL)
                                         : NULL;
        if (text)
            json_put_bytes(&o, text, size);
        else
            json_put_null(&o);
        free(text);
        json_add_text(&o, "finish", finish_name(job->finish));
        json_add_int(&o, "tokens", job->stats.n_new);
        json_add_int(&o, "kept", job->stats.kept);
        json_add_int(&o, "kv_bytes", (int64_t)job->stats.kv_bytes_peak);
    }
    json_close(&o, '}');
    puts(o.text);
    fflush(stdout);
    free(o.text);
}

static void stream_id(struct generator *g, int32_t id) {
    size_t size;
    bool special = false;
    if (!g->model->tokenizer) {
        char text[16];
        stream_put(g->stream, text, (size_t)snprintf(text, sizeof text, "%d ", id));
        return;
    }
    const char *piece = tokenizer_piece(g->model->tokenizer, id, &size, &special);
    if (!piece || special)
        return;
    bool drop = !g->begun && size && *piece == ' ' && tokenizer_drops_space(g->model->tokenizer);
    stream_put(g->stream, piece + drop, size - drop);
    g->begun = true;
}

/* What was kept, for people. */
static void tell_stats(const struct generator *g, const struct job *job) {
    static const char *const ends[] = {"", "its end token", "the limit of tokens",
                                       "logits that are not finite"};
    const struct sequence_stats *s = &job->stats;
    const char *name = g->plan.policy->name;
    int fed = s->n_prompt + (s->n_new ? s->n_new - 1 : 0);
    log_info(
        "%s kept %d of %d tokens per layer and KV head (at most %d), KV cache at most %.2f MB, "
        "%llu evictions",
        name, s->kept, fed, s->kept_peak, 1e-6 * (double)s->kv_bytes_peak,
        (unsigned long long)s->evictions);
    log_info("prompt %d tokens in %.2f s; %d new tokens in %.2f s (%.0f tokens/s), ended by %s",
             s->n_prompt, s->prefill_seconds, s->n_new, s->decode_seconds,
             s->decode_seconds > 0 ? (s->n_new - 1) / s->decode_seconds : 0.0, ends[job->finish]);
}

/* --- the loop ------------------------------------------------------------------------- */

/* Lets waiting jobs join while there is room; one that can never fit is done with an error. */
static void add_waiting(struct generator *g) {
    for (int i = g->n_told; i < g->n_jobs; i++) {
        struct job *job = &g->jobs[i];
        if (job->added || job->done)
            continue;
        const struct generate_param *p = g->param;
        struct request request = {
            .ids = job->prompt.ids,
            .n_ids = (int)job->prompt.count,
            .plan = &g->plan,
            .max_new = max_new(g, job),
            .min_new = (int)p->min_new,
            .ignore_eos = p->ignore_eos,
            .sampling = {(float)p->temperature, (float)p->top_p},
            .key = common_key(p->seed, i),
            .user = job,
        };
        job->added = session_add(g->session, &request, &job->error);
        job->done = job->error.code != 0;
        if (!job->added && !job->done)
            return;
    }
}

static void take_event(struct generator *g, const struct event *event) {
    struct job *job = event->user;
    bool end = event->finish == FINISH_ANSWER || event->finish == FINISH_NUMERIC;
    if (!end) {
        id_list_add(&job->ids, event->id);
        if (g->stream)
            stream_id(g, event->id);
    }
    if (event->finish == FINISH_NOT)
        return;
    job->finish = event->finish;
    job->stats = event->stats;
    job->done = true;
}

static bool run_jobs(struct generator *g, struct err *e) {
    while (g->n_told < g->n_jobs) {
        add_waiting(g);
        int n = session_step(g->session, g->events, e);
        if (n < 0)
            return false;
        for (int i = 0; i < n; i++)
            take_event(g, &g->events[i]);
        for (; g->n_told < g->n_jobs && g->jobs[g->n_told].done; g->n_told++)
            if (g->param->jsonl || (!g->stream && !g->jobs->error.code))
                print_json(g, &g->jobs[g->n_told]);
        if (ferror(stdout))
            return err_set(e, EXIT_ENV, "stdout cannot be written");
        if (g->param->jsonl && g->n_told)
            log_status(g->n_told == g->n_jobs, "%d of %d answered", g->n_told, g->n_jobs);
    }
    log_status_end();
    return true;
}

static bool open_session(struct generator *g, struct err *e) {
    int longest = 1, width = 0;
    for (int i = 0; i < g->n_jobs; i++) {
        const struct job *job = &g->jobs[i];
        int total = (int)job->prompt.count + max_new(g, job) - 1;
        if (job->done)
            continue;
        longest = total > longest ? total : longest;
        width += width < g->param->batch;
    }
    width = width ? width : 1;
    g->events = must_zalloc((size_t)width, sizeof *g->events);
    g->session = common_session(&g->param->common, g->model, width, longest, e);
    return g->session != NULL;
}

static bool open_jobs(struct generator *g, struct err *e) {
    const struct generate_param *p = g->param;
    const char *template = p->template ? p->template : "auto";
    if (!policy_parse(p->policy ? p->policy : "full", &g->plan, e) || !chat_check(template, e))
        return false;
    g->model = common_model(&p->common, e);
    if (!g->model || !chat_open(g->model, template, &g->chat, e))
        return false;
    if (p->jsonl)
        return read_jobs(g, e);
    g->jobs = must_zalloc(1, sizeof *g->jobs);
    g->n_jobs = 1;
    return read_prompt(g, g->jobs, e);
}

static int generate(const struct generate_param *param, struct err *e) {
    struct stream stream = {.out = stdout, .terminal = isatty(STDOUT_FILENO)};
    bool streams = !param->json && !param->jsonl;
    struct generator g = {.param = param, .stream = streams ? &stream : NULL};
    int failed = 0;
    bool ok = open_jobs(&g, e) && open_session(&g, e) && run_jobs(&g, e);
    for (int i = 0; i < g.n_jobs; i++)
        failed += g.jobs[i].error.code || g.jobs[i].finish == FINISH_NUMERIC;
    if (ok && !param->jsonl && g.jobs->error.code) {
        *e = g.jobs->error;
        ok = false;
    }
    if (ok && streams) {
        stream_end(&stream);
        tell_stats(&g, g.jobs);
    }
    if (ok && failed)
        log_warn("%d of %d answers failed", failed, g.n_jobs);
    for (int i = 0; i < g.n_jobs; i++) {
        id_list_free(&g.jobs[i].prompt);
        id_list_free(&g.jobs[i].ids);
    }
    free(g.jobs);
    free(g.events);
    session_close(g.session);
    model_close(g.model);
    return !ok ? e->code : failed ? EXIT_PARTIAL : EXIT_OK;
}

/* --- the command -------------------------------------------------------------------------- */

static const char usage[] = "raas generate [--policy P] (--prompt TEXT | --prompt-file F | --ids "
                            "1,2,3 | --jsonl F) [options]";
static const char summary[] = "answer a prompt, or a file of prompts, under any cache policy";
static const char about[] = "Streams the answer to stdout and then says, on stderr, what was kept. "
                            "--json and --jsonl print\n"
                            "{\"ids\", \"text\", \"finish\", \"tokens\", \"kept\", \"kv_bytes\"} "
                            "instead: ids without the end\n"
                            "token, finish = answer, cap or numeric, tokens = all new ones, kept = "
                            "tokens per layer and KV\n"
                            "head at the end, kv_bytes = the cache's peak. A line that fails gives "
                            "{\"error\"} in its place.";

static int generate_run(int argc, char **argv, struct err *e) {
    struct generate_param param;
    if (!common_argv(options, &param, usage, about, argc, argv, e))
        return e->code;
    int sources = !!param.prompt + !!param.prompt_file + !!param.ids + !!param.jsonl;
    if (sources != 1)
        return err_set(e, EXIT_USAGE, "expected one of --prompt, --prompt-file, --ids, --jsonl"),
               e->code;
    int most = session_max_width(session_backend(param.common.backend), e);
    if (param.batch > most)
        return err_set(e, EXIT_USAGE, "--batch %d: expected 1 to %d on %s", (int)param.batch, most,
                       session_backend(param.common.backend)),
               e->code;
    return generate(&param, e);
}

const struct command command_generate = {
    .name = "generate",
    .usage = usage,
    .summary = summary,
    .run = generate_run,
};
