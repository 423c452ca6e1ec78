/* What goes through the filters comes back, whatever it is; and strips of every height do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "store/attn_filter.h"
#include "tests/attn_feed.h"
#include "tests/folder.h"

/* Noise of `noise` bytes and runs of `run` bytes in turns. */
static void fill(char *data, size_t size, size_t noise, size_t run, struct rng *rng) {
    for (size_t i = 0; i < size; i++) {
        size_t at = i % (noise + run);
        data[i] = at < noise ? (char)rng_below(rng, 256) : (char)((i / (noise + run)) % 3);
    }
}

static void test_attn_filter_gives_back_what_it_took(void **state) {
    static const size_t lengths[] = {0, 1, 31, 32, 63, 64, 65, 100, 1000, 70000};
    enum { LENGTHS = sizeof lengths / sizeof *lengths, MOST = 200000 };
    char *data = must_alloc(MOST), *scratch = must_alloc(MOST), *back = must_alloc(MOST);
    char *packed = must_alloc(filter_room(MOST));
    struct rng rng = {.key = 5};
    (void)state;
    for (size_t item = 1; item <= 4; item *= 2)
        for (int a = 0; a < LENGTHS; a++)
            for (int b = 0; b < LENGTHS; b++)
                for (size_t size = 4; size <= MOST; size = (size * 7 + 8) / 4 * 4) {
                    if (!lengths[a] && !lengths[b])
                        continue;
                    fill(data, size, lengths[a], lengths[b], &rng);
                    size_t n = filter_encode(data, size, item, scratch, packed);
                    assert_true(n <= filter_room(size));
                    assert_true(filter_decode(packed, n, size, item, scratch, back));
                    assert_memory_equal(data, back, size);
                    packed[n / 2] ^= 8;
                    assert_false(filter_decode(packed, n, size, item, scratch, back));
                }
    free(data), free(scratch), free(back), free(packed);
}

/* So many heads that strips are low: several of them make a chunk. */
static void test_attn_filter_low_strips(void **state) {
    enum { LAYERS = 48, HEADS = 64, FIRST = 860, KEYS = 900 };
    static float prob[HEADS * KEYS];
    static int32_t position[KEYS];
    int32_t numbers[HEADS];
    const char *path = folder_path(*state, "low.h5");
    struct attn_params params = feed_params(path, FIRST, KEYS);
    struct err e = {0};
    for (int i = 0; i < HEADS; i++)
        numbers[i] = i;
    params.pooled = params.residency = false;
    params.n_layers = LAYERS, params.n_heads = HEADS, params.n_kv_heads = 1;
    params.layers = (struct attn_numbers){LAYERS, numbers};
    params.heads = (struct attn_numbers){HEADS, numbers};
    struct attn_writer *writer = feed_writer();
    struct attn_file *file = attn_begin(writer, &params, &e);
    if (!file) { /* the disk */
        feed_close(writer);
        skip();
    }
    for (int q = FIRST; q < KEYS; q++)
        for (int l = 0; l < LAYERS; l++) {
            for (int k = 0; k <= q; k++)
                position[k] = k;
            for (int h = 0; h < HEADS; h++)
                for (int k = 0; k <= q; k++)
                    prob[h * (q + 1) + k] = (float)((q * 5 + k * 3 + h * 7 + l) % 64) / 64;
            attn_watch(file, &(struct attention_row){.layer = l,
                                                     .group = HEADS,
                                                     .query = q,
                                                     .n = q + 1,
                                                     .position = position,
                                                     .prob = prob,
                                                     .n_resident = q + 1,
                                                     .resident = position});
        }
    feed_end(file, FIRST, KEYS);
    feed_close(writer);
    struct attn_reader *r = feed_open(path);
    float *map = must_alloc((KEYS - FIRST) * KEYS * sizeof *map);
    for (int l = 0; l < LAYERS; l += 11)
        for (int h = 0; h < HEADS; h += 9) {
            assert_true(attn_map(r, ATTN_FULL, l, h, map, &e));
            for (int q = FIRST; q < KEYS; q++)
                for (int k = 0; k < KEYS; k++) {
                    float got = map[(q - FIRST) * KEYS + k];
                    if (k > q)
                        assert_true(isnan(got));
                    else
                        assert_true(64 * got == (float)((q * 5 + k * 3 + h * 7 + l) % 64));
                }
        }
    free(map);
    attn_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attn_filter_gives_back_what_it_took),
        cmocka_unit_test_setup_teardown(test_attn_filter_low_strips, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests_name("attn_filter", tests, NULL, NULL);
}
