/* The generated header through which device code sees the policies, compiled for the host: each of
 * its switches does what the policy's own struct says, at every index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "policies_device.h"

static struct candidate draw(struct rng *r) {
    return (struct candidate){
        .position = (int32_t)rng_below(r, 1000),
        .now = (int32_t)(1000 + rng_below(r, 1000)),
        .column = (float)(rng_real(r) - 0.5),
        .signal = (float)(rng_real(r) - 0.5),
        .uniform = (float)rng_real(r),
        .marked = (int32_t)rng_below(r, 2),
        .weight = (float)rng_real(r),
    };
}

static void expect(const char *policy, const char *scorer, float got, float wanted) {
    if (memcmp(&got, &wanted, sizeof got) != 0)
        fail_msg("%s: policy_%s gives %g, the policy's own %g: its scorer is not called %s_%s",
                 policy, scorer, (double)got, (double)wanted, policy, scorer);
}

static void test_policies_device_equal_their_structs(void **state) {
    (void)state;
    struct rng r = {.key = rng_key(7, 7)};
    int n = 0;
    for (; all_policies[n]; n++) {
        const struct policy *p = all_policies[n];
        for (int i = 0; i < 100; i++) {
            struct candidate c = draw(&r);
            expect(p->name, "keep", policy_keep(n, c), p->keep ? p->keep(c) : 0);
            expect(p->name, "observe", policy_observe(n, c), p->observe ? p->observe(c) : c.column);
            expect(p->name, "pick", policy_pick(n, c), p->pick ? p->pick(c) : c.signal);
        }
    }
    assert_true(n > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_device_equal_their_structs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
