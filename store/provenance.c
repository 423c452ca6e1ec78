/* Runs: what was invoked, from which commit, built how, on what machine. Never the host's name. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <gnu/libc-version.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/machine.h"
#include "store/db_private.h"
#include "version.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *const status_names[] = {"running", "finished", "stopped", "incomplete"};

static bool add_machine(struct db *db, int64_t *id, struct err *e) {
    char cpu[256], system[256] = "unknown";
    machine_cpu(cpu, sizeof cpu);
    struct utsname name;
    if (uname(&name) == 0)
        snprintf(system, sizeof system, "%.60s %.120s %.60s", name.sysname, name.release,
                 name.machine);
    struct db_row row;
    if (!db_row_open(&row, db,
                     "SELECT id FROM machine WHERE cpu = ?1 AND cores = ?2 AND memory_bytes = ?3 "
                     "AND system = ?4",
                     "INSERT INTO machine (cpu, cores, memory_bytes, system) "
                     "VALUES (?1, ?2, ?3, ?4)",
                     e))
        return false;
    db_row_text(&row, cpu);
    db_row_int(&row, sysconf(_SC_NPROCESSORS_ONLN));
    db_row_int(&row, (int64_t)machine_memory());
    db_row_text(&row, system);
    return db_row_done(&row, id, e);
}

static char *argv_json(int argc, char *const *argv) {
    struct json_out out = {0};
    json_open(&out, '[');
    for (int i = 0; i < argc; i++)
        json_put_text(&out, argv[i]);
    json_close(&out, ']');
    return out.text;
}

static char *libraries_json(void) {
    char pcre2[64] = "unknown";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    struct json_out out = {0};
    json_open(&out, '{');
    json_add_text(&out, "glibc", gnu_get_libc_version());
    json_add_text(&out, "pcre2", pcre2);
    json_add_text(&out, "sqlite", db_library());
    json_add_text(&out, "utf8proc", utf8proc_version());
    json_close(&out, '}');
    return out.text;
}

static bool add_run(struct db *db, const struct db_run *run, int64_t machine, const char *argv,
                    const char *libraries, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO run (name, status, started, argv, experiment, git_commit, dirty, "
                     "compiler, libraries, isa, threads, machine_id) "
                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                     e))
        return false;
    char commit[] = RAAS_COMMIT, started[32];
    char *dirty = strstr(commit, "-dirty");
    if (dirty)
        *dirty = '\0';
    clock_utc(started);
    db_row_text(&row, run->name);
    db_row_text(&row, status_names[DB_RUNNING]);
    db_row_text(&row, started);
    db_row_text(&row, argv);
    db_row_text(&row, run->experiment);
    db_row_text(&row, commit);
    db_row_int(&row, dirty != NULL);
    db_row_text(&row, COMPILER);
    db_row_text(&row, libraries);
    db_row_text(&row, run->isa);
    db_row_int(&row, run->threads);
    db_row_int(&row, machine);
    return db_row_done(&row, id, e);
}

bool db_run_start(struct db *db, const struct db_run *run, int64_t *id, struct err *e) {
    int64_t machine;
    if (!add_machine(db, &machine, e))
        return false;
    char *argv = argv_json(run->argc, run->argv);
    char *libraries = libraries_json();
    bool ok = add_run(db, run, machine, argv, libraries, id, e);
    free(argv);
    free(libraries);
    return ok;
}

bool db_run_finish(struct db *db, int64_t run, enum db_status status, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL, "UPDATE run SET status = ?1, finished = ?2 WHERE id = ?3", e))
        return false;
    char finished[32];
    clock_utc(finished);
    db_row_text(&row, status_names[status]);
    db_row_text(&row, finished);
    db_row_int(&row, run);
    return db_row_done(&row, NULL, e);
}
