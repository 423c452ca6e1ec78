/* raas fetch: datasets and models by name, downloaded where the build can, else the command that
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
#include "datasets/problems.h"

struct thing { /* texts are borrowed */
    const char *name;
    const char *path; /* below the folder of its kind */
    const char *url;
    const char *sha256; /* NULL: not known */
    const char *note;   /* license, and what to know */
};

// clang-format off
static const struct thing models[] = {
    {"qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", "Apache-2.0, 491 MB"},
    {"qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
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
    "Downloads a dataset (gsm8k, math500, aime, aime:years=2025) or a model by name and checks "
    "its\n"
    "SHA-256 where that is known. A build without libcurl (make CURL=1 is one with it) prints the\n"
    "command that does the same.";

static bool find_model(const char *name, struct thing *out, struct err *e) {
    char list[400] = "";
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!strcmp(models[i].name, name)) {
            *out = models[i];
            return true;
        }
        err_list(list, sizeof list, models[i].name);
    }
    return err_set(e, EXIT_USAGE, "unknown model '%s', expected one of: %s", name, list);
}

/* The file of a dataset, by the dataset's spelling: "aime:years=2025". */
static bool find_dataset(const char *spelling, struct thing *out, struct err *e) {
    struct dataset_choice choice;
    if (!dataset_parse(spelling, &choice, e))
        return false;
    const struct problem_source *source = choice.dataset->source;
    const struct problem_param *param = choice.param;
    const struct problem_file *file = source ? &source->files[param->file] : NULL;
    free(choice.param);
    if (!file)
        return err_set(e, EXIT_USAGE, "dataset %s is generated: there is nothing to fetch",
                       spelling);
    if (!file->url)
        return err_set(e, EXIT_USAGE, "dataset %s: no place is known that has it as JSON lines",
                       file->fetch);
    *out = (struct thing){file->fetch, file->name, file->url, file->sha256, file->note};
    return true;
}

static const char *folder_of(const char *kind, const char *out) {
    const char *data = getenv("RAAS_DATA");
    if (out)
        return out;
    if (!strcmp(kind, "model"))
        return "models-data";
    return data && *data ? data : DATA_FOLDER;
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

static bool fetch(const char *kind, const struct thing *thing, const struct fetch_param *param,
                  struct err *e) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder_of(kind, param->out), thing->path);
    if (n < 0 || n >= (int)sizeof path)
        return err_set(e, EXIT_USAGE, "--out: longer than %d bytes", PATH_MAX);
    if (param->print || !fetch_can()) {
        print_command(thing, path);
        log_info("%s %s: %s", kind, thing->name, thing->note);
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
    struct thing thing;
    const char *kind = argv[0], *name = argv[1];
    bool found = !strcmp(kind, "dataset") ? find_dataset(name, &thing, e)
                 : !strcmp(kind, "model") ? find_model(name, &thing, e)
                                          : err_set(e, EXIT_USAGE,
                                                    "cannot fetch a '%s', expected dataset or "
                                                    "model",
                                                    kind);
    if (found)
        fetch(kind, &thing, &param, e);
    return e->code;
}

const struct command command_fetch = {
    .name = "fetch",
    .usage = usage,
    .summary = "datasets and models by name",
    .run = run,
};
