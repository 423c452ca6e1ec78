/* Chat templates: what transformers makes of their texts (tests/golden/make_templates.py), and
 * which one a model gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "engine/chat.h"
#include "engine/model_path.h"
#include "tests/cli.h"
#include "tests/folder.h"
#include "tests/tokenizers.h"

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
    assert_true(chat_text(&(struct model){.path = (char *)f->path}, &text, &e));
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
    assert_false(chat_text(&model, &text, &list));
    assert_int_equal(list.code, EXIT_CONTENT);
    folder_text(f, "tokenizer_config.json", "{\"chat_template\": ");
    assert_false(chat_text(&model, &text, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    folder_text(f, "chat_template.jinja", "{{ messages }}");
    assert_true(template_in(f));
}

/* --- against transformers --------------------------------------------------------------------- */

struct golden {
    struct jsonl lines;
    struct json_doc *prompts, *row;
};

static void golden_open(struct golden *g) {
    struct err e = {0};
    *g = (struct golden){0};
    assert_true(jsonl_open(&g->lines, "tests/golden/chat.jsonl", &e));
    assert_true(jsonl_next(&g->lines, &g->prompts, &e));
}

static bool golden_next(struct golden *g) {
    struct err e = {0};
    json_free(g->row);
    return jsonl_next(&g->lines, &g->row, &e);
}

static void golden_close(struct golden *g) {
    json_free(g->prompts);
    jsonl_close(&g->lines);
}

static const struct json *first_prompt(const struct golden *g) {
    return json_first(json_get(json_root(g->prompts), "prompts"));
}

static const struct chat_template *golden_template(const struct golden *g) {
    const char *sha256 = json_text(json_get(json_root(g->row), "sha256"));
    const struct chat_template *template = chat_find(sha256);
    if (!template)
        fail_msg("%s: no template has its text", json_text(json_get(json_root(g->row), "source")));
    return template;
}

static void test_chat_renders_as_transformers_does(void **state) {
    (void)state;
    struct golden g;
    size_t n = 0;
    golden_open(&g);
    for (; golden_next(&g); n++) {
        const struct chat_template *template = golden_template(&g);
        const struct json *expected = json_first(json_get(json_root(g.row), "texts"));
        for (const struct json *p = first_prompt(&g); p; p = json_next(p)) {
            size_t size;
            const char *prompt = json_bytes(p, &size);
            char *text = chat_render(template, prompt, &size);
            assert_string_equal(text, json_text(expected));
            assert_int_equal(size, strlen(text));
            free(text);
            expected = json_next(expected);
        }
        assert_null(expected);
    }
    golden_close(&g);
    assert_true(n >= 25);
}

static void compare_ids(const struct model *model, const struct golden *g) {
    struct chat chat = {.template = golden_template(g)};
    const struct json *expected = json_first(json_get(json_root(g->row), "ids"));
    for (const struct json *p = first_prompt(g); p; p = json_next(p)) {
        struct err e = {0};
        struct id_list ids = {0}, want = {0};
        size_t size;
        const char *prompt = json_bytes(p, &size);
        assert_true(chat_encode(model, &chat, prompt, size, &ids, &e));
        assert_true(id_list_read(&want, expected, &e));
        assert_int_equal(ids.count, want.count);
        assert_memory_equal(ids.ids, want.ids, ids.count * sizeof *ids.ids);
        id_list_free(&ids);
        id_list_free(&want);
        expected = json_next(expected);
    }
}

static void test_chat_ids_are_those_of_transformers(void **state) {
    (void)state;
    const char *folder = tokenizers_real();
    struct model model = {0};
    struct golden g;
    char last[64] = "";
    golden_open(&g);
    while (golden_next(&g)) {
        const char *name = json_text(json_get(json_root(g.row), "tokenizer"));
        if (strcmp(name, last) != 0) {
            struct err e = {0};
            char path[600];
            snprintf(path, sizeof path, "%s/%s/tokenizer.json", folder, name);
            snprintf(last, sizeof last, "%s", name);
            tokenizer_free(model.tokenizer);
            model.tokenizer = tokenizer_read(path, &e);
            assert_non_null(model.tokenizer);
        }
        compare_ids(&model, &g);
    }
    golden_close(&g);
    tokenizer_free(model.tokenizer);
}

static bool has_golden(const char *sha256) {
    struct golden g;
    bool found = false;
    golden_open(&g);
    while (golden_next(&g))
        found = found || !strcmp(json_text(json_get(json_root(g.row), "sha256")), sha256);
    golden_close(&g);
    return found;
}

static void test_chat_every_known_text_was_rendered(void **state) {
    (void)state;
    for (const struct chat_template *f = chat_table; f->name; f++)
        for (int i = 0; i < CHAT_TEXTS && f->sha256[i]; i++)
            if (!has_golden(f->sha256[i]))
                fail_msg("%s: %s is in no golden row", f->name, f->sha256[i]);
}

/* --- which one a model gets ------------------------------------------------------------------- */

/* The template writes BOS itself; the post-processor of this tokenizer would too. */
static void test_chat_bos_comes_once(void **state) {
    (void)state;
    struct err e = {0};
    struct id_list ids = {0}, plain = {0};
    struct model model = {.path = "nowhere"};
    struct chat chat;
    tokenizers_load();
    model.tokenizer = tokenizers_named("llama3");
    int32_t bos = tokenizer_id(model.tokenizer, "<s>");
    assert_true(chat_open(&model, "mistral", &chat, &e));
    assert_true(chat_encode(&model, &chat, "Hi", 2, &ids, &e));
    assert_true(ids.ids[0] == bos && ids.ids[1] != bos);
    assert_int_equal(strlen(chat.sha256), 64);
    assert_string_equal(chat_name(&chat), "mistral");
    assert_true(chat_open(&model, "none", &chat, &e));
    assert_true(chat_encode(&model, &chat, "Hi", 2, &plain, &e));
    assert_int_equal(plain.ids[0], bos);
    assert_true(plain.count < ids.count);
    assert_string_equal(chat_name(&chat), "none");
    assert_int_equal(*chat.sha256, 0);
    id_list_free(&ids);
    id_list_free(&plain);
    tokenizer_free(model.tokenizer);
    tokenizers_free();
}

/* The real texts belong to their models; one of shared/ will do. */
static void test_chat_auto_knows_a_real_text(void **state) {
    const struct folder *f = *state;
    struct err e = {0};
    struct chat chat;
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/qwen3/tokenizer_config.json", tokenizers_real());
    char *config = file_read(path, 1 << 20, &size, &e);
    assert_non_null(config);
    folder_text(f, "tokenizer_config.json", config);
    free(config);
    struct model model = {.path = (char *)f->path};
    assert_true(chat_open(&model, "auto", &chat, &e));
    assert_string_equal(chat_name(&chat), "qwen3");
    struct chat named;
    assert_true(chat_open(&model, "qwen3", &named, &e));
    assert_string_equal(chat.sha256, named.sha256); /* one key, whichever way it was chosen */
    assert_true(chat_open(&model, "qwen3-no-think", &named, &e));
    assert_string_not_equal(chat.sha256, named.sha256);
    assert_true(chat_open(&model, "none", &chat, &e));
    assert_null(chat.template);
    char *text;
    assert_true(chat_text(&model, &text, &e));
    text[strlen(text) - 1] = ' '; /* one byte makes it another text */
    folder_text(f, "chat_template.jinja", text);
    assert_true(chat_open(&model, "auto", &chat, &e));
    assert_null(chat.template);
    assert_int_equal(*chat.sha256, 0);
    free(text);
}

/* stdout of one greedy answer of the model in the folder. */
static char *answer(const struct folder *f, const char *template, const char *words) {
    struct cli cli;
    cli_run(&cli, NULL, "generate", "--model", f->path, "--prompt", "Some friends count rings.",
            "--max-new", "4", "--json", "--template", template, NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_true(!!strstr(cli.err, "chat template") == (words != NULL));
    if (words)
        assert_non_null(strstr(cli.err, words));
    free(cli.err);
    return cli.out;
}

static void test_chat_unknown_template_is_said_and_left_out(void **state) {
    const struct folder *f = *state;
    link_model(f);
    folder_text(f, "chat_template.jinja", "{{ messages }}");
    char *known = answer(f, "auto", "is not known, prompts go in as they are"),
         *none = answer(f, "none", NULL), *forced = answer(f, "smollm2", NULL);
    assert_string_equal(known, none);
    assert_string_not_equal(forced, none);
    free(known);
    free(none);
    free(forced);
    CLI_FAILS(EXIT_USAGE, "expected auto, none or one of qwen2, ", "generate", "--model", f->path,
              "--prompt", "x", "--template", "nope");
}

static void test_chat_tokenizer_of_another_model_is_refused(void **state) {
    const struct folder *f = *state;
    link_model(f);
    assert_int_equal(unlink(folder_path(f, "tokenizer.json")), 0);
    folder_text(
        f, "tokenizer.json",
        "{\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\","
        "\"vocab\":{\"x\":0,\"y\":99999},\"merges\":[]}}");
    CLI_FAILS(EXIT_CONTENT, "highest id 99999, expected less than", "generate", "--model", f->path,
              "--prompt", "x", "--template", "none");
}

static void test_chat_is_part_of_a_run(void **state) {
    const struct folder *f = *state;
    link_model(f);
    folder_text(f, "chat_template.jinja", "{{ messages }}");
    static const char *const wanted[] = {"auto", "smollm2"}, *const words[] = {"is not known", ""},
                             *const heads[] = {"fp32", "prompt smollm2"};
    for (int i = 0; i < 2; i++) {
        struct cli cli;
        cli_run(&cli, NULL, "run", "experiments/demo.json", "--model", f->path, "--limit", "1",
                "--set", "policy=full", "--set", "max_new=4", "--precision", "fp32", "--template",
                wanted[i], "--db", folder_path(f, "raas.db"), NULL);
        assert_int_equal(cli.code, EXIT_OK);
        assert_non_null(strstr(cli.err, words[i]));
        assert_non_null(strstr(cli.out, heads[i]));
        cli_free(&cli);
    }
    CLI_FAILS(EXIT_USAGE, "--set template: chat template 'nope'", "run", "experiments/demo.json",
              "--template", "nope");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chat_finds_a_template_in_either_place, folder_setup,
                                        folder_teardown),
        cmocka_unit_test(test_chat_renders_as_transformers_does),
        cmocka_unit_test(test_chat_ids_are_those_of_transformers),
        cmocka_unit_test(test_chat_every_known_text_was_rendered),
        cmocka_unit_test(test_chat_bos_comes_once),
        cmocka_unit_test_setup_teardown(test_chat_auto_knows_a_real_text, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_chat_unknown_template_is_said_and_left_out,
                                        folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_chat_tokenizer_of_another_model_is_refused,
                                        folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_chat_is_part_of_a_run, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
