/* raas fetch: data sets and models by name, downloaded where the build can, else the command that
 * does it. Nothing of them is shipped. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "commands/fetch_curl.h"

struct thing {
    const char *kind, *name, *path, *url;
    const char *sha256; /* NULL: not known */
    const char *note;   /* license, and what to know */
};

// clang-format off
static const struct thing things[] = {
    {"dataset", "gsm8k", "gsm8k/test.jsonl",
     "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/test.jsonl",
     "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14", "MIT license"},
    {"dataset", "math500", "math500/test.jsonl",
     "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl", NULL,
     "problems of third parties; MATH itself was taken down from where it was published"},
    {"dataset", "aime", "aime24/test.jsonl",
     "https://huggingface.co/datasets/math-ai/aime24/resolve/main/test.jsonl", NULL,
     "problems of the Mathematical Association of America"},
    {"dataset", "aime25", "aime25/test.jsonl",
     "https://huggingface.co/datasets/math-ai/aime25/resolve/main/test.jsonl", NULL,
     "problems of the Mathematical Association of America"},
    {"model", "qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", "Apache-2.0, 491 MB"},
    {"model", "qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
     "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
     "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046", "Apache-2.0, 1.1 GB"},
};

struct fetch_param {
    const char *out;
    bool print;
};
static const struct option options[] = {
    {"out", OPTION_TEXT, offsetof(struct fetch_param, out), 0, 0, 0, NULL,
     "DIR: where it goes (default: $RAAS_DATA or datasets-data; models: models-data)"},
    {"print", OPTION_BOOL, offsetof(struct fetch_param, print), 0, 0, 1, NULL,
     "only print the command that downloads it"},
    OPTION_END,
};
// clang-format on

static const char usage[] = "raas fetch dataset|model NAME [--out DIR] [--print]";
static const char about[] =
    "Downloads a data set or a model by name and checks its SHA-256 where that is known. A build\n"
    "without libcurl (make CURL=1 is one with it) prints the command that does the same.";

static const struct thing *find(const char *kind, const char *name, struct err *e) {
    char list[400] = "";
    for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
        if (strcmp(things[i].kind, kind))
            continue;
        if (!strcmp(things[i].name, name))
            return &things[i];
        err_list(list, sizeof list, things[i].name);
    }
    if (*list)
        err_set(e, EXIT_USAGE, "unknown %s '%s', expected one of: %s", kind, name, list);
    else
        err_set(e, EXIT_USAGE, "cannot fetch a '%s', expected dataset or model", kind);
    return NULL;
}

static const char *folder_of(const struct thing *thing, const char *out) {
    const char *data = getenv("RAAS_DATA");
    if (out)
        return out;
    if (!strcmp(thing->kind, "model"))
        return "models-data";
    return data && *data ? data : "datasets-data";
}

/* In single quotes, as a shell takes any text. */
static void print_quoted(const char *text) {
    putchar('\'');
    for (; *text; text++)
        fputs(*text == '\'' ? "'\\''" : (char[]){*text, 0}, stdout);
    putchar('\'');
}

static void print_command(const struct thing *thing, const char *path) {
    printf("curl --fail --location --create-dirs --output ");
    print_quoted(path);
    printf(" '%s'\n", thing->url);
    if (thing->sha256) {
        printf("echo '%s  '", thing->sha256);
        print_quoted(path);
        printf(" | sha256sum --check\n");
    }
}

static bool check(const struct thing *thing, const char *path, struct err *e) {
    char found[HASH_HEX];
    if (!hash_file(path, found, e))
        return false;
    if (thing->sha256 && strcmp(thing->sha256, found))
        return err_set(e, EXIT_CONTENT, "%s: SHA-256 %s, expected %s: not the file that is known",
                       path, found, thing->sha256);
    printf("%s\n", path);
    log_info("%s: SHA-256 %s%s; %s", path, found, thing->sha256 ? ", as expected" : "",
             thing->note);
    return true;
}

static bool fetch(const struct thing *thing, const struct fetch_param *param, struct err *e) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder_of(thing, param->out), thing->path);
    if (n < 0 || n >= (int)sizeof path)
        return err_set(e, EXIT_USAGE, "--out: longer than %d bytes", PATH_MAX);
    if (param->print || !fetch_can()) {
        print_command(thing, path);
        log_info("%s %s: %s", thing->kind, thing->name, thing->note);
        return true;
    }
    if (access(path, F_OK) == 0)
        log_info("%s is there already", path);
    else if (!fetch_file(thing->url, path, e))
        return false;
    return check(thing, path, e);
}

static int run(int argc, char **argv, struct err *e) {
    struct fetch_param param;
    int n_args;
    option_defaults(options, &param);
    if (!option_argv(options, &param, usage, about, argc, argv, &n_args, e))
        return e->code;
    if (n_args != 2)
        return err_set(e, EXIT_USAGE, "expected dataset or model, and a name; usage: %s", usage),
               e->code;
    const struct thing *thing = find(argv[0], argv[1], e);
    if (thing)
        fetch(thing, &param, e);
    return e->code;
}

const struct command command_fetch = {
    .name = "fetch",
    .usage = usage,
    .summary = "data sets and models by name",
    .run = run,
};
