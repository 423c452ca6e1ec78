/* Files of attention that were cut, changed or never finished; disks that are full. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/attn_feed.h"
#include "tests/folder.h"

static struct folder folder;
static int open_group(void **state) {
    (void)state;
    folder_make(&folder);
    return 0;
}
static int close_group(void **state) {
    (void)state;
    folder_remove(&folder);
    return 0;
}

/* --- damage ----------------------------------------------------------------------------------- */

static void refuse(const char *path, const char *what, size_t at) {
    struct err e = {0};
    struct attn_reader *r = attn_open(path, &e);
    if (r || e.code != EXIT_CONTENT)
        fail_msg("%s at %zu: %s", what, at, r ? "was opened" : e.text);
}

static void test_attn_damage_refuses_any_damage(void **state) {
    (void)state;
    struct attn_params p = feed_params(folder_path(&folder, "small.h5"), 3, 5);
    struct err e = {0};
    int32_t zero = 0;
    size_t size;
    p.layers = p.heads = (struct attn_numbers){1, &zero};
    p.pooled = false;
    struct attn_writer *writer = feed_writer();
    struct attn_file *file = feed_begin(writer, &p);
    feed_rows(file, 3, 5);
    feed_end(file, 3, 5);
    feed_close(writer);
    char *whole = file_read(p.path, 1 << 20, &size, &e);
    assert_non_null(whole);
    char path[100];
    snprintf(path, sizeof path, "%s", folder_path(&folder, "damaged.h5"));
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, whole, size), size);
    for (size_t i = 0; i < size; i++) {
        char flipped = (char)(whole[i] ^ (1 << i % 8));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        refuse(path, "a flipped bit", i);
        assert_int_equal(pwrite(fd, &whole[i], 1, (off_t)i), 1);
    }
    attn_close(feed_open(path)); /* the test would notice: it is whole again */
    assert_int_equal(pwrite(fd, "", 1, (off_t)size), 1);
    refuse(path, "a byte more", size);
    for (size_t n = size; n-- > 0;) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        refuse(path, "cut", n);
    }
    printf("measured: a file of %zu bytes refused with each byte changed and at each length\n",
           size);
    close(fd);
    free(whole);
    assert_null(attn_open(folder_path(&folder, "none.h5"), &e));
    assert_int_equal(e.code, EXIT_USAGE);
}

/* What no writer of ours stores unless a model is broken. */
static void test_attn_damage_refuses_what_is_no_probability(void **state) {
    (void)state;
    static const float values[] = {NAN, -0.5f, 1.5f, INFINITY};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        const int32_t position[] = {0, 1, 2};
        const float prob[2 * 3] = {1, 0, 0, 0, 1, values[k]};
        struct attn_params p = feed_params(folder_path(&folder, "odd.h5"), 2, 3);
        int32_t zero = 0, two[] = {0, 1};
        p.layers = (struct attn_numbers){1, &zero}, p.heads = (struct attn_numbers){2, two};
        struct attn_writer *writer = feed_writer();
        struct attn_file *file = feed_begin(writer, &p);
        attn_watch(file, &(struct attention_row){.group = FEED_GROUP,
                                                 .query = 2,
                                                 .n = 3,
                                                 .position = position,
                                                 .prob = prob,
                                                 .n_resident = 3,
                                                 .resident = position});
        feed_end(file, 2, 3);
        feed_close(writer);
        struct err e = {0};
        assert_false(attn_verify(p.path, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        assert_non_null(strstr(e.text, "layer 0, KV head 0, query 2, key 2"));
        unlink(p.path);
    }
}

/* --- disks ------------------------------------------------------------------------------------ */

/* In a child: files may grow to `limit` bytes. Returns the code that the writer ends with. */
static int record_within(rlim_t limit, const struct attn_params *p) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
        struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
        struct attn_file *file = attn_begin(writer, p, &e);
        if (file) {
            feed_rows(file, p->n_prompt, p->max_keys);
            feed_end(file, p->n_prompt, p->max_keys);
        }
        attn_writer_close(writer, NULL, &e);
        exit(e.code); /* as the program does, with the library's own ending */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status))
        fail_msg("signal %d at a limit of %lu", WTERMSIG(status), (unsigned long)limit);
    return WEXITSTATUS(status);
}

static void test_attn_damage_full_disks_leave_nothing(void **state) {
    (void)state;
    struct attn_params p = feed_params(folder_path(&folder, "disk.h5"), 20, 400);
    char part[120];
    int failed = 0, code = EXIT_ENV;
    for (rlim_t limit = 512; code; limit += limit / 3) {
        code = record_within(limit, &p);
        assert_true(code == EXIT_OK || code == EXIT_ENV);
        assert_int_equal(access(p.path, F_OK) == 0, code == EXIT_OK);
        snprintf(part, sizeof part, "%s.part", p.path);
        assert_int_not_equal(access(part, F_OK), 0);
        snprintf(part, sizeof part, "%s.raw.part", p.path);
        assert_int_not_equal(access(part, F_OK), 0);
        failed += code != EXIT_OK;
    }
    assert_true(failed > 10);
    attn_close(feed_open(p.path));
    struct err e = {0};
    struct attn_writer *writer = feed_writer();
    p.n_layers = 2, p.max_keys = 1 << 24;
    assert_null(attn_begin(writer, &p, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "MB are free"));
    feed_close(writer);
}

static void test_attn_damage_killed_leaves_no_file(void **state) {
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct attn_params p = feed_params(folder_path(&folder, "killed.h5"), 20, FEED_MOST);
        unlink(p.path);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct err e = {0};
            struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
            struct attn_file *file = attn_begin(writer, &p, &e);
            feed_rows(file, 20, FEED_MOST);
            feed_end(file, 20, FEED_MOST);
            attn_writer_close(writer, NULL, &e);
            _exit(0);
        }
        usleep((useconds_t)(4000 * round));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        char part[120];
        struct err e = {0};
        if (access(p.path, F_OK) == 0)
            attn_close(feed_open(p.path)); /* it was done by then */
        snprintf(part, sizeof part, "%s.part", p.path);
        if (access(part, F_OK) == 0)
            refuse(part, "a part", (size_t)round);
        snprintf(part, sizeof part, "%s.raw.part", p.path);
        if (access(part, F_OK) == 0)
            refuse(part, "a raw part", (size_t)round);
        (void)e;
    }
}

static void test_attn_damage_abandoned_leaves_nothing(void **state) {
    (void)state;
    struct attn_params p = feed_params(folder_path(&folder, "abandoned.h5"), 20, 300);
    struct attn_writer *writer = feed_writer();
    struct attn_file *file = feed_begin(writer, &p);
    feed_rows(file, 20, 200);
    attn_abandon(file);
    file = feed_begin(writer, &p); /* the same name again */
    feed_rows(file, 20, 100);
    feed_end(file, 20, 100);
    feed_close(writer);
    struct attn_reader *r = feed_open(p.path);
    assert_int_equal(attn_info(r)->n_keys, 100);
    attn_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attn_damage_refuses_any_damage),
        cmocka_unit_test(test_attn_damage_refuses_what_is_no_probability),
        cmocka_unit_test(test_attn_damage_full_disks_leave_nothing),
        cmocka_unit_test(test_attn_damage_killed_leaves_no_file),
        cmocka_unit_test(test_attn_damage_abandoned_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, open_group, close_group);
}
