/* What every registered policy must hold, on whatever backend: `how` says how sessions are opened,
 * except for their max_total. Every failure fails the running test. */
#pragma once

#include "tests/tiny.h"

enum { CHECK_TOTAL = 400 }; /* max_total of the sessions */

/* Along forced ids, behind prompts shorter and longer than the budget: never more than the capacity
 * is kept, what is pinned stays, no position stands twice, page policies' tables ascend, an evictor
 * evicts, and memory is accounted for. Tables are looked at after every `every`-th step of a
 * session of width 1, under lockstep. */
void policy_checks_tables(const struct model *model, const struct tiny *shape,
                          struct session_params how, const char *spelling, int every);

/* A spelling whose budget covers everything gives the logits of full, bit for bit; those whose keys
 * are rotated by rank are exempt. */
void policy_checks_full(const struct model *model, const struct tiny *shape,
                        struct session_params how);

/* Every spelling decodes freely, some greedily, behind a prompt of its own, how.width at a time. */
void policy_checks_decode(const struct model *model, const struct tiny *shape,
                          struct session_params how, int stagger, struct answer *out);
/* The same ids, ends and statistics (but times) in both. */
void policy_checks_same(const struct answer *a, const struct answer *b, int n, const char *where);
