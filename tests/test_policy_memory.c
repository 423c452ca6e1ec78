/* Memory that is really saved: what the process holds, seen from outside the cache. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/spellings.h"
#include "tests/tiny.h"

static void test_policy_memory_is_not_allocated_while_decoding(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    int32_t ids[300];
    tiny_ids(&shape, 5, ids, 300);
    for (int i = 0; i < n_spellings; i++) {
        struct session *session = tiny_session(model, true, 1, 1, 400);
        struct plan plan = tiny_plan(spellings[i]);
        struct request r = {
            .ids = ids, .n_ids = 40, .plan = &plan, .forced = ids + 40, .n_forced = 260};
        struct err e = {0};
        assert_true(session_add(session, &r, &e));
        struct event events[64];
        session_step(session, events, &e);
        struct mallinfo2 before = mallinfo2();
        for (int step = 0; step < 250; step++)
            session_step(session, events, &e);
        struct mallinfo2 after = mallinfo2();
        assert_int_equal(before.uordblks, after.uordblks);
        assert_int_equal(before.hblkhd, after.hblkhd);
        session_close(session);
    }
    model_close(model);
}

static long resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    long total = 0, resident = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &total, &resident), 2);
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static void test_policy_memory_is_what_the_process_holds(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    shape.n_layers = 1, shape.n_heads = shape.n_kv_heads = 1, shape.vocab = 16;
    shape.head_size = 128; /* the same bytes in few heads: the time goes into exp, once a head */
    struct model *model = tiny_open(shape);
    enum { FROM = 1000, TO = 8000 };
    for (const struct policy *const *p = all_policies; *p; p++) {
        struct plan plan;
        struct err e = {0};
        if (!policy_parse((*p)->has_budget ? "x" : (*p)->name, &plan, &e)) {
            char text[64];
            snprintf(text, sizeof text, "%s:budget=128", (*p)->name);
            plan = tiny_plan(text);
        }
        if (!plan.evict && strcmp((*p)->name, "full"))
            continue; /* selectors hold what full holds */
        struct session *session = tiny_session(model, false, 1, 1, TO + 2);
        int32_t prompt[] = {1, 2, 3, 4};
        struct request r = {
            .ids = prompt, .n_ids = 4, .plan = &plan, .max_new = TO + 1 - 4, .ignore_eos = true};
        assert_true(session_add(session, &r, &e));
        struct event events[64];
        long before = 0;
        uint64_t kv_before = 0;
        for (int step = 0; step < TO - 8; step++) {
            session_step(session, events, &e);
            if (step == FROM)
                before = resident_bytes(), kv_before = session_memory(session).pool_bytes;
        }
        long grown = resident_bytes() - before;
        uint64_t kv_grown = session_memory(session).pool_bytes - kv_before;
        printf("measured: %s keeps %ld KiB more after steps %d to %d (cache grew by %llu KiB)\n",
               (*p)->name, grown / 1024, FROM, TO, (unsigned long long)kv_grown / 1024);
        if (plan.evict)
            assert_true(grown < 1 << 20);
        else
            assert_true((double)grown >= 0.9 * (double)kv_grown && kv_grown > 6 << 20);
        session_close(session);
    }
    model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_memory_is_not_allocated_while_decoding),
        cmocka_unit_test(test_policy_memory_is_what_the_process_holds),
    };
#if defined(__SANITIZE_ADDRESS__)
    (void)tests;
    puts("skipped: memory of the process says nothing under a sanitizer's allocator");
    return 0;
#else
    return cmocka_run_group_tests(tests, list_spellings, NULL);
#endif
}
