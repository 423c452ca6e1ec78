/* raas merge: the answers of several databases, of shards for example, in one. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "store/merge.h"

struct merge_param {
    const char *db;
    bool json;
};

static const struct option options[] = {
    DB_ROW(struct merge_param, db, "database to merge into, made where missing"),
    JSON_ROW(struct merge_param, json),
    OPTION_END,
};

static const char usage[] = "raas merge [--db OUT] IN... [--json]";
static const char about[] =
    "Takes the answers of databases, and all that they refer to, into OUT. Merging again changes\n"
    "nothing; the order doesn't matter. An answer that OUT holds with other content, or that was\n"
    "altered since it was stored, is a conflict: it is named and left out, what OUT holds stays,\n"
    "the rest is taken, and the exit code is 4. Analyses stay where they are.";

enum { NAMED_CONFLICTS = 20 }; /* on stderr, of one database */

struct naming {
    const char *path;
    int64_t n;
    struct json_out *json; /* NULL: text */
};

static void name_conflict(void *context, const char *key, const char *why) {
    struct naming *naming = context;
    naming->n++;
    if (naming->json) {
        json_open(naming->json, '{');
        json_add_text(naming->json, "key", key);
        json_add_text(naming->json, "why", why);
        json_close(naming->json, '}');
    } else if (naming->n <= NAMED_CONFLICTS) {
        log_warn("%s: conflict: answer %.12s: %s", naming->path, key, why);
    }
}

static bool merge_one(struct db *db, const char *path, struct json_out *json,
                      struct merge_count *count, struct err *e) {
    struct naming naming = {path, 0, json};
    if (json) {
        json_open(json, '{');
        json_add_text(json, "path", path);
        json_name(json, "conflicts");
        json_open(json, '[');
    }
    if (!db_merge(db, path, name_conflict, &naming, count, e))
        return false;
    if (json) {
        json_close(json, ']');
        json_add_int(json, "answers", count->answers);
        json_add_int(json, "added", count->added);
        json_add_int(json, "known", count->known);
        json_add_int(json, "unsealed", count->unsealed);
        json_close(json, '}');
        return true;
    }
    if (naming.n > NAMED_CONFLICTS)
        log_warn("%s: and %lld more conflicts", path, (long long)(naming.n - NAMED_CONFLICTS));
    printf("%s: %lld answers: %lld added, %lld known, %lld conflicts\n", path,
           (long long)count->answers, (long long)count->added, (long long)count->known,
           (long long)count->conflicts);
    if (count->unsealed)
        log_warn("%s: %lld answers carry no seal, since an older program stored them", path,
                 (long long)count->unsealed);
    return true;
}

/* How far the plans are, each experiment's newest. */
static bool print_plans(struct db *db, struct json_out *json, struct err *e) {
    struct db_query *q =
        db_query(db,
                 "WITH newest AS (SELECT id, name, row_number() OVER (PARTITION BY name "
                 "  ORDER BY started DESC, id DESC) AS place FROM run) "
                 "SELECT name, sum(stored), sum(planned) FROM newest "
                 "JOIN v_plan ON v_plan.run_id = newest.id WHERE place = 1 "
                 "GROUP BY name ORDER BY name",
                 e);
    while (q && db_next(q, e)) {
        if (json) {
            json_open(json, '{');
            json_add_text(json, "name", db_text(q, 0));
            json_add_int(json, "stored", db_int(q, 1));
            json_add_int(json, "planned", db_int(q, 2));
            json_close(json, '}');
        } else {
            printf("%s: %lld of %lld planned answers\n", db_text(q, 0), (long long)db_int(q, 1),
                   (long long)db_int(q, 2));
        }
    }
    return db_query_end(q);
}

static bool merge_all(struct db *db, char **paths, int n, struct json_out *json, int64_t *conflicts,
                      struct err *e) {
    if (json)
        json_open(json, '{'), json_name(json, "merged"), json_open(json, '[');
    for (int i = 0; i < n; i++) {
        struct merge_count count;
        if (!merge_one(db, paths[i], json, &count, e))
            return false;
        *conflicts += count.conflicts;
    }
    if (json)
        json_close(json, ']'), json_name(json, "plans"), json_open(json, '[');
    if (!print_plans(db, json, e))
        return false;
    if (json)
        json_close(json, ']'), json_close(json, '}'), puts(json->text);
    return true;
}

static int run(int argc, char **argv, struct err *e) {
    struct merge_param param;
    int n;
    option_defaults(options, &param);
    if (!option_argv(options, &param, usage, about, argc, argv, &n, e))
        return e->code;
    if (!n)
        return err_set(e, EXIT_USAGE, "expected databases to merge; usage: %s", usage), e->code;
    for (int i = 0; i < n; i++) /* before OUT is made */
        if (access(argv[i], F_OK) != 0)
            return err_errno(e, EXIT_USAGE, "%s", argv[i]), e->code;
    struct db *db = db_open(common_db(param.db), DB_WRITE, e);
    if (!db)
        return e->code;
    struct json_out json = {0};
    int64_t conflicts = 0;
    bool ok = merge_all(db, argv, n, param.json ? &json : NULL, &conflicts, e);
    free(json.text);
    db_close(db);
    return !ok ? e->code : conflicts ? EXIT_PARTIAL : EXIT_OK;
}

const struct command command_merge = {
    .name = "merge",
    .usage = usage,
    .summary = "the answers of several databases in one",
    .run = run,
};
