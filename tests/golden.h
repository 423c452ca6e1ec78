/* What tests on golden models share: teacher-forced logits through a session, and plain comparison.
 */
#pragma once

#include "engine/session.h"

/* fp32 logits [n][vocab] of ids under a policy, on the CPU reference path: the first `prefill` ids
 * as prompt, the others one decode step each. malloc'd; the test fails (with the error's text) if
 * anything goes wrong or a position is reported never or twice. */
float *golden_run(const struct model *model, const char *policy, const int32_t *ids, int n,
                  int prefill);

/* Largest absolute difference; infinite when either side holds a NaN. */
float golden_apart(const float *a, const float *b, size_t n);
