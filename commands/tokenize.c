/* raas tokenize: text to ids. */
#include <string.h>

#include "commands/command.h"
#include "commands/lines.h"
#include "commands/tokenizing.h"

struct tokenize {
    struct tokenizing common;
    bool no_special;
};

// clang-format off
static const struct option table[] = {
    TOKENIZING_ROWS(struct tokenize),
    {"no_special", OPTION_BOOL, offsetof(struct tokenize, no_special), 0, 0, 1, NULL,
     "add no BOS and the like around the text"},
    OPTION_END,
};
// clang-format on

#define USAGE "raas tokenize [options] (TEXT | --jsonl FILE)"

static const char about[] =
    "Writes the ids of TEXT as {\"ids\": [...]}, or those of every {\"text\": ...} line of FILE. "
    "The\n"
    "spelling of a special token inside a text becomes its id, U+0000 is an ordinary character.\n"
    "A line that fails (no JSON, no text, invalid UTF-8, more than 16 MiB) gives {\"error\": ...}\n"
    "in its place, and exit code 4 at the end. Write -- in front of a TEXT that begins with a "
    "dash.";

static bool put_ids(const struct tokenize *o, const char *text, size_t size, struct json_out *out,
                    struct err *e) {
    struct id_list ids = {0};
    bool ok = tokenizer_encode(o->common.loaded, text, size, !o->no_special, &ids, e);
    if (ok) {
        json_open(out, '{');
        json_name(out, "ids");
        json_put_ids(out, ids.ids, ids.count);
        json_close(out, '}');
    }
    id_list_free(&ids);
    return ok;
}

static bool answer(const void *options, const struct json *request, struct json_out *out,
                   struct err *e) {
    const struct json *value = json_get(request, "text");
    size_t size;
    const char *text = value ? json_bytes(value, &size) : NULL;
    if (!text)
        return err_set(e, EXIT_CONTENT, "expected {\"text\": a string}");
    return put_ids(options, text, size, out, e);
}

static int run(int argc, char **argv, struct err *e) {
    struct tokenize o;
    int n;
    option_defaults(table, &o);
    if (!option_argv(table, &o, USAGE, about, argc, argv, &n, e))
        return e->code;
    if (n + (o.common.jsonl != NULL) != 1) {
        err_set(e, EXIT_USAGE, "raas tokenize: expected one TEXT (in quotes) or --jsonl FILE");
        return e->code;
    }
    if (!tokenizing_load(&o.common, e))
        return e->code;
    int code = EXIT_OK;
    struct json_out out = {0};
    if (o.common.jsonl)
        code = lines_answer(answer, &o, o.common.jsonl, e);
    else if (put_ids(&o, argv[0], strlen(argv[0]), &out, e))
        lines_print(&out);
    tokenizer_free(o.common.loaded);
    return e->code ? e->code : code;
}

const struct command command_tokenize = {
    .name = "tokenize",
    .usage = USAGE,
    .summary = "text to token ids",
    .run = run,
};
