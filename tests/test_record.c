/* raas record and what reads its files, from outside: labels, exports, figures, doctor, and runs
 * that record beside what they store. */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/npy.h"
#include "datasets/dataset.h"
#include "store/attn.h"
#include "tests/cli.h"
#include "tests/folder.h"

#define DATASET "lemmas:steps=2,seed=5"
static struct folder folder;
static char gold[100]; /* a file, recorded once */

static const char *must_run(struct cli *cli) {
    if (cli->code != EXIT_OK)
        fail_msg("code %d: %s", cli->code, cli->err);
    return cli->out;
}

static int setup(void **state) {
    (void)state;
    struct cli cli;
    folder_make(&folder);
    cli_run(&cli, NULL, "record", "--dataset", DATASET, "--mode", "full,pooled", "--solution",
            "gold", "--policy", "streaming:budget=32", "--n", "1", "--out", folder.path, NULL);
    snprintf(gold, sizeof gold, "%s", must_run(&cli));
    gold[strcspn(gold, "\n")] = 0;
    cli_free(&cli);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    folder_remove(&folder);
    return 0;
}

static struct attn_reader *must_open(const char *path) {
    struct err e = {0};
    struct attn_reader *r = attn_open(path, &e);
    if (!r)
        fail_msg("%s", e.text);
    return r;
}

static struct problem problem_of(void) {
    struct dataset_choice choice;
    struct problem problem;
    struct err e = {0};
    assert_true(dataset_parse(DATASET, &choice, &e));
    assert_true(dataset_get(&choice, 0, &problem, &e));
    free(choice.param);
    return problem;
}

/* Texts of the tokens whose label is n, joined, against bytes of the solution. */
static void same_text(const struct attn_tokens *t, const int32_t *label, int n,
                      const struct problem *p, const struct span *span) {
    char text[100] = "";
    for (int i = 0; i < t->n; i++)
        if (label[i] == n)
            strcat(text, t->text[i]);
    size_t size = (size_t)(span->to - span->from);
    const char *at = text + (*text == ' '); /* the token takes the space before it */
    assert_int_equal(strlen(at), size);
    assert_memory_equal(at, p->solution + span->from, size);
}

static void test_record_labels_tokens_with_gold(void **state) {
    (void)state;
    struct attn_reader *r = must_open(gold);
    const struct attn_tokens *t = &attn_info(r)->tokens;
    struct problem p = problem_of();
    size_t length = 0;
    for (int i = t->n_prompt; i < t->n; i++) {
        assert_memory_equal(t->text[i], p.solution + length, strlen(t->text[i]));
        length += strlen(t->text[i]);
        assert_in_range(t->gold_step[i], 0, 2);
        assert_true(i == t->n_prompt || t->gold_step[i] >= t->gold_step[i - 1]);
    }
    assert_int_equal(length, strlen(p.solution));
    assert_int_equal(t->gold_step[t->n - 1], 2);
    assert_int_equal(t->gold_step[0], -1);
    for (int i = 0; i < p.n_lemmas; i++)
        same_text(t, t->gold_lemma, p.lemmas[i].step, &p, &p.lemmas[i]);
    char *solution = attn_note(r, "solution"), *policy = attn_note(r, "policy"),
         *budget = attn_note(r, "budget");
    assert_string_equal(solution, "gold");
    assert_string_equal(policy, "streaming");
    assert_string_equal(budget, "32");
    free(solution), free(policy), free(budget);
    problem_free(&p);
    attn_close(r);
}

/* A model that says what the gold solution says has its labels too, as far as it does. */
static void test_record_labels_what_the_model_says(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "record", "--dataset", DATASET, "--mode", "pooled", "--n", "1", "--out",
            folder_path(&folder, "free"), "--rows", "all", NULL);
    char path[100];
    snprintf(path, sizeof path, "%s", must_run(&cli));
    path[strcspn(path, "\n")] = 0;
    cli_free(&cli);
    struct attn_reader *r = must_open(path), *g = must_open(gold);
    const struct attn_tokens *t = &attn_info(r)->tokens, *want = &attn_info(g)->tokens;
    assert_false(attn_info(r)->full);
    assert_int_equal(attn_info(r)->first_query, 0);
    bool same = true;
    for (int i = 0; i < t->n; i++) {
        same = same && i < want->n && t->id[i] == want->id[i];
        assert_int_equal(t->gold_step[i], same ? want->gold_step[i] : -1);
    }
    attn_close(r);
    attn_close(g);
}

static void test_record_files_are_known_to_the_doctor(void **state) {
    (void)state;
    struct cli cli;
    struct err e = {0};
    size_t size;
    cli_run(&cli, NULL, "doctor", "--verify", gold, NULL);
    assert_non_null(strstr(must_run(&cli), "whole; full and pooled of lemmas-2-5-0"));
    cli_free(&cli);
    char *bytes = file_read(gold, 1 << 24, &size, &e);
    assert_non_null(bytes);
    folder_write(&folder, "cut.h5", bytes, size - 1);
    bytes[size / 2] ^= 4;
    folder_write(&folder, "flipped.h5", bytes, size);
    bytes[3] ^= 4; /* in the seal */
    folder_write(&folder, "seal.h5", bytes, size);
    free(bytes);
    cli_run(&cli, NULL, "doctor", "--verify", folder_path(&folder, "cut.h5"), NULL);
    assert_int_equal(cli.code, EXIT_CONTENT);
    assert_non_null(strstr(cli.out, "it was cut or added to"));
    cli_free(&cli);
    cli_run(&cli, NULL, "doctor", "--verify", folder_path(&folder, "flipped.h5"), NULL);
    assert_int_equal(cli.code, EXIT_CONTENT);
    assert_non_null(strstr(cli.out, "its bytes are not those of its SHA-256"));
    cli_free(&cli);
    cli_run(&cli, NULL, "doctor", "--verify", folder_path(&folder, "seal.h5"), NULL);
    assert_int_equal(cli.code, EXIT_CONTENT);
    assert_non_null(strstr(cli.out, "expected a file of attention"));
    cli_free(&cli);
}

static void test_record_usage(void **state) {
    (void)state;
    CLI_FAILS(EXIT_USAGE, "--dataset is missing", "record", "--mode", "full", "--out", "x");
    CLI_FAILS(EXIT_USAGE, "--out is missing", "record", "--mode", "full", "--dataset", "lemmas");
    CLI_FAILS(EXIT_USAGE, "expected lifecycle, pooled, full", "record", "--dataset", "lemmas",
              "--out", "x");
    CLI_FAILS(EXIT_USAGE, "mode 'ful': expected", "record", "--dataset", "lemmas", "--out", "x",
              "--mode", "ful");
    CLI_FAILS(EXIT_USAGE, "mode '': expected", "record", "--dataset", "lemmas", "--out", "x",
              "--mode", "pooled,");
    CLI_FAILS(EXIT_USAGE, "--heads 4: expected numbers from 0 to 3", "record", "--dataset",
              "lemmas", "--out", "x", "--mode", "full", "--heads", "4");
    CLI_FAILS(EXIT_USAGE, "--layers 3-1: expected", "record", "--dataset", "lemmas", "--out", "x",
              "--mode", "full", "--layers", "3-1");
    CLI_FAILS(EXIT_USAGE, "--layers 1,,2: expected", "record", "--dataset", "lemmas", "--out", "x",
              "--mode", "full", "--layers", "1,,2");
    CLI_FAILS(EXIT_USAGE, "--isolated times what is not recorded", "run", "experiments/demo.json",
              "--record", "full", "--isolated");
    CLI_FAILS(EXIT_USAGE, "both, or neither", "plot", "attention", gold, "--layer", "1");
    CLI_FAILS(EXIT_USAGE, "layer 9, head 0 is not recorded", "plot", "attention", gold, "--layer",
              "9", "--head", "0", "--out", folder.path);
    CLI_FAILS(EXIT_USAGE, "expected attention and a file", "export", "attention");
}

/* --- readers ---------------------------------------------------------------------------------- */

static void check_json(const char *name, int depth) {
    struct err e = {0};
    char path[200];
    snprintf(path, sizeof path, "%s/export/%s", folder.path, name);
    struct json_doc *doc = json_read(path, 1 << 28, &e);
    if (!doc)
        fail_msg("%s", e.text);
    struct attn_reader *r = must_open(gold);
    size_t n = (size_t)attn_info(r)->n_keys;
    const struct json *root = json_root(doc), *at = json_get(root, "attention");
    assert_int_equal(json_count(json_get(root, "tokens")), n);
    for (int i = 0; i < depth; i++)
        at = json_first(at);
    assert_int_equal(json_count(at), n);
    assert_int_equal(json_count(json_first(at)), n);
    attn_close(r);
    json_free(doc);
}

static void test_record_exports(void **state) {
    (void)state;
    static const char *const formats[] = {"npy", "bertviz", "circuitsvis"};
    char out[100], path[200];
    snprintf(out, sizeof out, "%s/export", folder.path);
    for (int i = 0; i < 3; i++) {
        struct cli cli;
        cli_run(&cli, NULL, "export", "attention", gold, "--format", formats[i], "--head", "2",
                "--out", out, NULL);
        must_run(&cli);
        cli_free(&cli);
    }
    check_json("bertviz.json", 3); /* layer, batch, head */
    check_json("layer-1.json", 1);
    struct npy npy;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/layer-1.npy", out);
    if (!npy_read(path, &npy, &e))
        fail_msg("%s", e.text);
    struct attn_reader *r = must_open(gold);
    size_t cells = (size_t)attn_info(r)->n_steps * (size_t)attn_info(r)->n_keys;
    float *map = must_alloc(cells * sizeof *map);
    assert_true(attn_map(r, ATTN_FULL, 1, 2, map, &e));
    assert_int_equal(npy.bytes, cells * sizeof *map);
    for (size_t i = 0; i < cells; i++) {
        float x = ((const float *)npy.data)[i];
        assert_true(x == map[i] || (isnan(x) && isnan(map[i])));
    }
    free(map);
    attn_close(r);
    npy_free(&npy);
}

static void must_draw(const char *name, const char *layer, const char *head) {
    struct cli cli;
    char path[200];
    cli_run(&cli, NULL, "plot", "attention", gold, "--out", folder.path, "--layer", layer, "--head",
            head, NULL);
    must_run(&cli);
    cli_free(&cli);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", folder.path, name, i ? ".svg" : ".png");
        if (access(path, R_OK) != 0)
            fail_msg("%s is missing", path);
    }
}

static void test_record_draws(void **state) {
    (void)state;
    must_draw("attention", "1", "2");
    must_draw("attention_heads", "-1", "-1");
}

static char *read_drawn(const char *name) {
    struct err e = {0};
    size_t size;
    char *text = file_read(folder_path(&folder, name), 1 << 24, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

static int words_of(const char *text, const char *words) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)); at++)
        n++;
    return n;
}

/* What the miner finds in the file is on its pictures: the first four keys are sinks under any
 * head, and every head of the sheet has a class. */
static void test_record_pictures_show_what_is_detected(void **state) {
    (void)state;
    must_draw("attention", "1", "2");
    must_draw("attention_heads", "-1", "-1");
    char *marks = read_drawn("attention.tsv"), *sheet = read_drawn("attention_heads_data.gp");
    assert_int_equal(words_of(marks, "\t10\n"), 4);
    char *classes = strstr(sheet, "classes = '");
    assert_non_null(classes);
    strchr(classes + 11, '\'')[1] = 0;
    assert_int_equal(words_of(classes + 11, " "), 24);
    free(marks), free(sheet);
}

/* Under a head that reads lemmas the lives that are found are those of the gold labels. */
static void test_record_lifelines_agree(void **state) {
    (void)state;
    struct cli cli;
    char path[200], line[80];
    cli_run(&cli, NULL, "record", "--dataset", "lemmas:steps=8,seed=3", "--mode", "full",
            "--solution", "gold", "--layers", "5", "--out", folder_path(&folder, "lines"), NULL);
    snprintf(path, sizeof path, "%s", must_run(&cli));
    path[strcspn(path, "\n")] = 0;
    cli_free(&cli);
    cli_run(&cli, NULL, "plot", "lifelines", path, "--theta", "0.5", "--layer", "5", "--head", "1",
            "--out", folder.path, NULL);
    must_run(&cli);
    cli_free(&cli);
    char *rows = read_drawn("lifelines.tsv"), *data = read_drawn("lifelines_data.gp");
    int known = 0, same = 0;
    for (char *at = rows; (at = strchr(at, '\n')) && at[1]; at++) {
        int lemma, source, kind, from, to;
        assert_int_equal(sscanf(at, "%d %d %d %d %d", &lemma, &source, &kind, &from, &to), 5);
        if (source || kind != 3)
            continue;
        known++;
        snprintf(line, sizeof line, "\n%d\t1\t3\t%d\t%d\n", lemma, from, to);
        same += strstr(rows, line) != NULL;
    }
    assert_true(known >= 3);
    assert_int_equal(same, known);
    assert_non_null(strstr(data, ", 0 wrongly"));
    free(rows), free(data);
    cli_run(&cli, NULL, "plot", "lifelines", path, "--theta", "0.5", "--out", folder.path, NULL);
    must_run(&cli);
    cli_free(&cli);
    data = read_drawn("lifelines_data.gp");
    assert_non_null(strstr(data, "the best of all here"));
    free(data);
    CLI_FAILS(EXIT_USAGE, "layer 2, KV head 0 is not recorded", "plot", "lifelines", path,
              "--layer", "2", "--head", "1");
    CLI_FAILS(EXIT_USAGE, "lifelines takes one file", "plot", "lifelines");
}

/* --- runs ------------------------------------------------------------------------------------- */

static const char experiment[] =
    "{\"name\": \"small\", \"dataset\": \"" DATASET "\", \"policy\": [\"full\", \"raas\"], "
    "\"budget\": 64, \"n\": 2, \"max_new\": 40, \"width\": 3}";

static int n_files;
static int count_file(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)at;
    if (type != FTW_F)
        return 0;
    attn_close(must_open(path));
    n_files++;
    return 0;
}

static void test_record_beside_a_run(void **state) {
    (void)state;
    struct cli plain, recorded;
    char out[120], files[140];
    folder_text(&folder, "small.json", experiment);
    snprintf(out, sizeof out, "%s/plain", folder.path);
    cli_run(&plain, NULL, "run", folder_path(&folder, "small.json"), "--out", out, "--quiet", NULL);
    must_run(&plain);
    snprintf(out, sizeof out, "%s/recorded", folder.path);
    cli_run(&recorded, NULL, "run", folder_path(&folder, "small.json"), "--out", out, "--quiet",
            "--record", "full", "--record-layers", "1", NULL);
    assert_string_equal(must_run(&recorded), plain.out); /* recording changes no answer */
    cli_free(&plain);
    cli_free(&recorded);
    snprintf(files, sizeof files, "%s/attn", out);
    n_files = 0;
    assert_int_equal(nftw(files, count_file, 8, FTW_PHYS), 0);
    assert_int_equal(n_files, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_labels_tokens_with_gold),
        cmocka_unit_test(test_record_labels_what_the_model_says),
        cmocka_unit_test(test_record_files_are_known_to_the_doctor),
        cmocka_unit_test(test_record_usage),
        cmocka_unit_test(test_record_exports),
        cmocka_unit_test(test_record_draws),
        cmocka_unit_test(test_record_pictures_show_what_is_detected),
        cmocka_unit_test(test_record_lifelines_agree),
        cmocka_unit_test(test_record_beside_a_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
