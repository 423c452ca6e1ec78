/* A model that brings a chat template: refused where a prompt would silently go in without it, said
 * where problems do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/chat.h"
#include "engine/model_path.h"
#include "tests/cli.h"
#include "tests/folder.h"

/* The embedded model's files, by links, in a folder of their own. */
static void link_model(const struct folder *f) {
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json"};
    char model[4096], full[8192];
    struct err e = {0};
    assert_true(model_default_path(model, sizeof model, &e));
    assert_non_null(realpath(model, full));
    size_t n = strlen(full);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(full + n, sizeof full - n, "/%s", names[i]);
        assert_int_equal(symlink(full, folder_path(f, names[i])), 0);
    }
}

static bool template_in(const struct folder *f) {
    struct err e = {0};
    char *text;
    assert_true(chat_template(&(struct model){.path = (char *)f->path}, &text, &e));
    assert_true(!text || strcmp(text, "{{ messages }}") == 0);
    free(text);
    return text != NULL;
}

static void test_chat_finds_a_template_in_either_place(void **state) {
    const struct folder *f = *state;
    struct err e = {0}, list = {0};
    struct model model = {.path = (char *)f->path};
    char *text;
    assert_false(template_in(f));
    folder_text(f, "tokenizer_config.json", "{\"chat_template\": null}");
    assert_false(template_in(f));
    folder_text(f, "tokenizer_config.json", "{\"chat_template\": \"{{ messages }}\"}");
    assert_true(template_in(f));
    folder_text(f, "tokenizer_config.json",
                "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"},"
                "{\"name\": \"default\", \"template\": \"{{ messages }}\"}]}");
    assert_true(template_in(f));
    folder_text(f, "tokenizer_config.json", "{\"chat_template\": [1]}");
    assert_false(chat_template(&model, &text, &list));
    assert_int_equal(list.code, EXIT_CONTENT);
    folder_text(f, "tokenizer_config.json", "{\"chat_template\": ");
    assert_false(chat_template(&model, &text, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    folder_text(f, "chat_template.jinja", "{{ messages }}");
    assert_true(template_in(f));
}

static void test_chat_template_is_never_passed_over_silently(void **state) {
    const struct folder *f = *state;
    link_model(f);
    folder_text(f, "chat_template.jinja", "{{ messages }}");
    CLI_FAILS(EXIT_USAGE, "chat template", "generate", "--model", f->path, "--prompt", "x");
    struct cli cli;
    cli_run(&cli, NULL, "generate", "--model", f->path, "--prompt", "x", "--max-new", "2",
            "--template", "none", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    cli_free(&cli);
    cli_run(&cli, NULL, "run", "experiments/demo.json", "--model", f->path, "--dry-run", "--limit",
            "1", "--db", folder_path(f, "raas.db"), NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_non_null(strstr(cli.err, "chat template"));
    cli_free(&cli);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chat_finds_a_template_in_either_place, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_chat_template_is_never_passed_over_silently,
                                        folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
