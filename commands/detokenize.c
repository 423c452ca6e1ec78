/* raas detokenize: ids to text. */
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/lines.h"
#include "commands/tokenizing.h"

struct detokenize {
    struct tokenizing common;
    bool skip_special;
};

// clang-format off
static const struct option table[] = {
    TOKENIZING_ROWS(struct detokenize),
    {"skip_special", OPTION_BOOL, offsetof(struct detokenize, skip_special), 0, 0, 1, NULL,
     "leave special tokens out of the text"},
    OPTION_END,
};
// clang-format on

#define USAGE "raas detokenize [options] (IDS | --jsonl FILE)"

static const char about[] =
    "Writes the text of IDS (1,2,3) as {\"text\": ...}, or that of every {\"ids\": [...]} line of "
    "FILE.\n"
    "Bytes that are no whole UTF-8 character become U+FFFD. A line that fails (no JSON, no ids, "
    "an\n"
    "id that stands for nothing, more than 16 MiB) gives {\"error\": ...} in its place, and exit\n"
    "code 4 at the end.";

static bool put_text(const struct detokenize *o, const struct id_list *ids, struct json_out *out,
                     struct err *e) {
    size_t size;
    char *text =
        tokenizer_decode(o->common.loaded, ids->ids, ids->count, o->skip_special, &size, e);
    if (!text)
        return false;
    json_open(out, '{');
    json_name(out, "text");
    json_put_bytes(out, text, size);
    json_close(out, '}');
    free(text);
    return true;
}

static bool answer(const void *options, const struct json *request, struct json_out *out,
                   struct err *e) {
    struct id_list ids = {0};
    bool ok = id_list_read(&ids, json_get(request, "ids"), e) && put_text(options, &ids, out, e);
    id_list_free(&ids);
    return ok;
}

/* "1,2,3"; empty for no ids. */
static bool parse_ids(char *text, struct id_list *ids, struct err *e) {
    for (char *word = *text ? text : NULL; word;) {
        char *next = strchr(word, ','), *end;
        if (next)
            *next++ = 0;
        long id = strtol(word, &end, 10);
        if (!strchr("0123456789", *word) || end == word || *end || id > INT32_MAX)
            return err_set(e, EXIT_USAGE, "raas detokenize: expected ids as 1,2,3, got '%s'", word);
        id_list_add(ids, (int32_t)id);
        word = next;
    }
    return true;
}

static int run(int argc, char **argv, struct err *e) {
    struct detokenize o;
    int n;
    option_defaults(table, &o);
    if (!option_argv(table, &o, USAGE, about, argc, argv, &n, e))
        return e->code;
    if (n + (o.common.jsonl != NULL) != 1) {
        err_set(e, EXIT_USAGE, "raas detokenize: expected IDS as 1,2,3 or --jsonl FILE");
        return e->code;
    }
    struct id_list ids = {0};
    if (!o.common.jsonl && !parse_ids(argv[0], &ids, e)) {
        id_list_free(&ids);
        return e->code;
    }
    bool loaded = tokenizing_load(&o.common, e);
    int code = EXIT_OK;
    struct json_out out = {0};
    if (loaded && o.common.jsonl)
        code = lines_answer(answer, &o, o.common.jsonl, e);
    else if (loaded && put_text(&o, &ids, &out, e))
        lines_print(&out);
    else if (loaded)
        e->code = EXIT_USAGE; /* these ids were the command line's */
    tokenizer_free(o.common.loaded);
    id_list_free(&ids);
    return e->code ? e->code : code;
}

const struct command command_detokenize = {
    .name = "detokenize",
    .usage = USAGE,
    .summary = "token ids to text",
    .run = run,
};
