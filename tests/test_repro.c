/* experiments/repro with a tiny experiment: what it leaves, that it resumes, that it admits
 * failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/folder.h"

static int repro(struct folder *folder, const char *scale, const char *experiment) {
    setenv("SCALE", scale, 1);
    setenv("EXPERIMENTS", folder_path(folder, experiment), 1);
    setenv("OUT", folder_path(folder, "out"), 1);
    unsetenv("MODEL");
    unsetenv("BACKEND");
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
            execl("experiments/repro", "repro", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_there(struct folder *folder, const char *name) {
    struct stat st;
    return stat(folder_path(folder, name), &st) == 0 && st.st_size > 0;
}

static void test_repro_runs_draws_reports_and_resumes(void **state) {
    folder_text(*state, "tiny.json",
                "{\"name\": \"tiny\", \"description\": \"small\", \"dataset\": \"lemmas:steps=4\","
                " \"policy\": [\"full\", \"streaming\"], \"budget\": 64, \"n\": 2,"
                " \"max_new\": 60}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(repro(*state, "smoke", "tiny.json"), 0);
        assert_true(is_there(*state, "out/raas.db"));
        assert_true(is_there(*state, "out/report/report.html"));
        assert_true(is_there(*state, "out/figures/tiny/outcomes.png"));
        assert_true(is_there(*state, "out/figures/tiny/lengths.svg"));
    }
}

static void test_repro_says_what_failed(void **state) {
    folder_text(*state, "bad.json", "{\"name\": \"bad\"}");
    assert_int_equal(repro(*state, "smoke", "bad.json"), 4);
    assert_int_equal(repro(*state, "huge", "bad.json"), 2);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_repro_runs_draws_reports_and_resumes),
        IN_FOLDER(test_repro_says_what_failed),
    };
    return cmocka_run_group_tests_name("repro", tests, NULL, NULL);
}
