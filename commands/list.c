/* raas list: what can be named elsewhere. Tables of plug-ins come from the build, experiments and
 * figures from their folders. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/home.h"
#include "base/json.h"
#include "commands/command.h"
#include "commands/common.h"
#include "datasets/dataset.h"
#include "engine/chat.h"
#include "plots/plot.h"

/* One thing to be named. For people: name, note and summary in columns, then options. */
struct entry {
    char name[128], path[320], summary[512];
    char note[32];                /* second column: what a policy does to the cache */
    const struct option *options; /* NULL: has none */
    const struct plan *plan;      /* policies only */
};

struct entry_list {
    struct entry *items;
    size_t count;
};

static struct entry *list_add(struct entry_list *list, const char *name, const char *summary) {
    list->items = must_realloc(list->items, (list->count + 1) * sizeof *list->items);
    struct entry *entry = &list->items[list->count++];
    memset(entry, 0, sizeof *entry);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    snprintf(entry->summary, sizeof entry->summary, "%s", summary);
    return entry;
}

/* --- what there is --------------------------------------------------------------- */

static bool list_policies(struct entry_list *list, struct err *e) {
    static const char *const units[] = {"", "tokens", "pages"};
    for (const struct policy *const *p = all_policies; *p; p++) {
        struct plan *plan = must_zalloc(1, sizeof *plan);
        struct entry *entry = list_add(list, (*p)->name, (*p)->summary);
        entry->options = (*p)->options;
        entry->plan = plan;
        snprintf(entry->path, sizeof entry->path, "policies/%s.c", (*p)->name);
        if (!policy_parse((*p)->name, plan, e))
            return false;
        snprintf(entry->note, sizeof entry->note, "%s",
                 plan->evict    ? "evicts "
                 : plan->select ? "selects "
                                : "keeps all");
        strcat(entry->note, units[plan->evict ? plan->evict : plan->select]);
    }
    return true;
}

static bool list_datasets(struct entry_list *list, struct err *e) {
    (void)e;
    for (const struct dataset *const *d = all_datasets; *d; d++) {
        struct entry *entry = list_add(list, (*d)->name, (*d)->summary);
        entry->options = (*d)->options;
        snprintf(entry->path, sizeof entry->path, "datasets/%s.c", (*d)->name);
    }
    return true;
}

static bool list_architectures(struct entry_list *list, struct err *e) {
    (void)e;
    for (const struct architecture *a = architecture_table; a->name; a++)
        strcpy(list_add(list, a->name, a->summary)->path, "engine/config.c");
    return true;
}

static bool list_templates(struct entry_list *list, struct err *e) {
    (void)e;
    for (const struct chat_template *f = chat_table; f->name; f++) {
        struct entry *entry = list_add(list, f->name, f->summary);
        strcpy(entry->path, "engine/chat_table.c");
        strcpy(entry->note, f->sha256[0] ? "by the model's text" : "by name only");
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* One entry per file of the folder with this ending; `describe` fills the summary from the file. */
static bool list_folder(struct entry_list *list, const char *folder, const char *ending,
                        bool (*describe)(struct entry *, const char *, struct err *),
                        struct err *e) {
    char home[PATH_MAX], path[PATH_MAX + 300];
    DIR *dir = home_find(folder, home, sizeof home) ? opendir(home) : NULL;
    if (!dir)
        return err_set(e, EXIT_ENV, "no folder %s here or beside the program", folder);
    bool ok = true;
    for (struct dirent *f; ok && (f = readdir(dir));) {
        size_t n = strlen(f->d_name), m = strlen(ending);
        if (f->d_name[0] == '.' || n <= m || strcmp(f->d_name + n - m, ending))
            continue;
        struct entry *entry = list_add(list, f->d_name, "");
        entry->name[n - m < sizeof entry->name ? n - m : sizeof entry->name - 1] = 0;
        snprintf(path, sizeof path, "%s/%s", home, f->d_name);
        snprintf(entry->path, sizeof entry->path, "%s/%s", folder, f->d_name);
        ok = describe(entry, path, e);
    }
    closedir(dir);
    if (list->count) /* else there are no items to point at */
        qsort(list->items, list->count, sizeof *list->items, by_name);
    return ok;
}

static bool describe_experiment(struct entry *entry, const char *path, struct err *e) {
    struct json_doc *doc = json_read(path, 1 << 20, e);
    if (!doc)
        return false;
    const struct json *value = json_get(json_root(doc), "description");
    const char *text = value ? json_text(value) : NULL;
    snprintf(entry->summary, sizeof entry->summary, "%s", text ? text : "");
    json_free(doc);
    return true;
}

/* A figure's first line says what it shows: "-- accuracy against ...", or, of one that is not drawn
 * from the database, "# attention of ..." in its script. */
static bool describe_figure(struct entry *entry, const char *path, struct err *e) {
    char line[sizeof entry->summary] = "";
    FILE *f = fopen(path, "re");
    if (!f)
        return err_errno(e, EXIT_ENV, "%s", path);
    if (fgets(line, sizeof line, f))
        line[strcspn(line, "\r\n")] = 0;
    fclose(f);
    snprintf(entry->summary, sizeof entry->summary, "%s", line + strspn(line, "-/*# "));
    return true;
}

static bool list_experiments(struct entry_list *list, struct err *e) {
    return list_folder(list, "experiments", ".json", describe_experiment, e);
}

/* Scripts of figures that have a query are listed with it. */
static bool list_figures(struct entry_list *list, struct err *e) {
    static const char *const endings[] = {".sql", ".gp"};
    bool ok = true;
    for (int ending = 0; ok && ending < 2; ending++) {
        struct entry_list files = {0};
        ok = list_folder(&files, "plots", endings[ending], describe_figure, e);
        for (size_t i = 0; ok && i < files.count; i++) {
            const struct entry *file = &files.items[i];
            bool known = !plot_is_figure(file->name);
            for (size_t k = 0; k < list->count; k++)
                known = known || !strcmp(list->items[k].name, file->name);
            if (!known)
                strcpy(list_add(list, file->name, file->summary)->path, file->path);
        }
        free(files.items);
    }
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_name);
    return ok;
}

/* --- printing ------------------------------------------------------------------------ */

static const char *const type_names[] = {"int", "real", "bool", "choice", "text", "string", "list"};

static void put_choices(struct json_out *o, const char *choices) {
    size_t n;
    json_open(o, '[');
    for (int i = 0;; i++) {
        const char *name = option_choice(choices, i, &n);
        if (!n)
            break;
        json_put_bytes(o, name, n);
    }
    json_close(o, ']');
}

static void put_option(struct json_out *o, const struct option *option) {
    bool number = option->type == OPTION_INT || option->type == OPTION_REAL;
    json_open(o, '{');
    json_add_text(o, "name", option->name);
    json_add_text(o, "type", type_names[option->type]);
    json_name(o, "default");
    if (number) {
        json_put_real(o, option->standard);
    } else if (option->type == OPTION_BOOL) {
        json_put_bool(o, option->standard != 0);
    } else if (option->type == OPTION_CHOICE) {
        size_t n;
        const char *name = option_choice(option->choices, (int)option->standard, &n);
        json_put_bytes(o, name, n);
    } else {
        json_put_null(o);
    }
    json_name(o, "range");
    if (option->type == OPTION_CHOICE) {
        put_choices(o, option->choices);
    } else if (number) {
        json_open(o, '[');
        json_put_real(o, option->min), json_put_real(o, option->max);
        json_close(o, ']');
    } else {
        json_put_null(o);
    }
    json_add_text(o, "help", option->help);
    json_close(o, '}');
}

static void put_entry(struct json_out *o, const struct entry *entry) {
    json_open(o, '{');
    json_add_text(o, "name", entry->name);
    json_add_text(o, "path", entry->path);
    json_add_text(o, "summary", entry->summary);
    if (entry->plan) {
        json_add_text(o, "source", entry->plan->policy->source);
        json_add_bool(o, "evicts", entry->plan->evict != UNIT_NONE);
        json_add_bool(o, "selects", entry->plan->select != UNIT_NONE);
    }
    if (entry->options) {
        json_name(o, "options");
        json_open(o, '[');
        for (const struct option *option = entry->options; option->name; option++)
            put_option(o, option);
        json_close(o, ']');
    }
    json_close(o, '}');
}

static void print_json(const struct entry_list *list) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (size_t i = 0; i < list->count; i++)
        put_entry(&o, &list->items[i]);
    json_close(&o, ']');
    puts(o.text);
    free(o.text);
}

/* The default as one would type it ("r=0.5"), and what else may stand there ("0 to 1"). */
static void spell(const struct option *o, char typed[64], char range[128]) {
    size_t n = 0;
    const char *name =
        o->type == OPTION_CHOICE ? option_choice(o->choices, (int)o->standard, &n) : "";
    snprintf(range, 128, "%s", o->type == OPTION_BOOL ? "0 or 1" : n ? o->choices : "text");
    if (n) {
        snprintf(typed, 64, "%s=%.*s", o->name, (int)n, name);
    } else if (o->type == OPTION_TEXT || o->type == OPTION_STRING || o->type == OPTION_LIST) {
        snprintf(typed, 64, "%s=", o->name);
    } else {
        snprintf(typed, 64, "%s=%.16g", o->name, o->standard);
        if (o->type != OPTION_BOOL)
            snprintf(range, 128, "%.16g to %.16g", o->min, o->max);
    }
}

static void widen(int *width, const char *text) {
    int n = (int)strlen(text);
    *width = n > *width ? n : *width;
}

static void print_text(const struct entry_list *list) {
    int name = 0, note = 0, left = 0, middle = 0;
    char typed[64], range[128];
    for (size_t i = 0; i < list->count; i++) {
        widen(&name, list->items[i].name);
        widen(&note, list->items[i].note);
        for (const struct option *o = list->items[i].options; o && o->name; o++) {
            spell(o, typed, range);
            widen(&left, typed);
            widen(&middle, range);
        }
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct entry *entry = &list->items[i];
        printf("%-*s  %-*s%s%s\n", name, entry->name, note, entry->note, note ? "  " : "",
               entry->summary);
        for (const struct option *o = entry->options; o && o->name; o++) {
            spell(o, typed, range);
            printf("    %-*s  %-*s  %s\n", left, typed, middle, range, o->help);
        }
    }
}

/* --- the command ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool (*fill)(struct entry_list *list, struct err *e);
} kinds[] = {
    {"policies", list_policies},           {"datasets", list_datasets},
    {"experiments", list_experiments},     {"figures", list_figures},
    {"architectures", list_architectures}, {"templates", list_templates},
};
#define KINDS "policies|datasets|experiments|figures|architectures|templates"
static const char usage[] = "raas list " KINDS " [--json]";
static const char summary[] = "what can be named elsewhere, with options and defaults";

struct list_param {
    bool json;
};

static int list_run(int argc, char **argv, struct err *e) {
    static const struct option options[] = {JSON_ROW(struct list_param, json), OPTION_END};
    struct list_param param;
    int n_args;
    option_defaults(options, &param);
    if (!option_argv(options, &param, usage, summary, argc, argv, &n_args, e))
        return e->code;
    if (n_args != 1)
        return err_set(e, EXIT_USAGE, "expected one of %s", KINDS), e->code;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, argv[0]))
            continue;
        struct entry_list list = {0};
        if (kinds[i].fill(&list, e))
            (param.json ? print_json : print_text)(&list);
        for (size_t k = 0; k < list.count; k++)
            free((void *)list.items[k].plan);
        free(list.items);
        return e->code;
    }
    err_set(e, EXIT_USAGE, "cannot list '%s', expected one of %s", argv[0], KINDS);
    return e->code;
}

const struct command command_list = {
    .name = "list",
    .usage = usage,
    .summary = summary,
    .run = list_run,
};
