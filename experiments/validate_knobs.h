/* Whether what is found follows the generator's knobs. */
#pragma once

#include "experiments/validate.h"

/* Fills validation->knobs: lifetime, phoenix and reuse, one at a time, seen by the best head. The
 * sequences must fit the session; those that don't are an error. */
bool validate_knobs(struct validation *validation, struct session *session, const struct plan *plan,
                    struct err *e);
