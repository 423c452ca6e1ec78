/* Policy spellings under test, made from the registry: every policy with its defaults at a budget
 * of 48 tokens, and with each of its options off its default. A new policy file is tested by being
 * there. */
#pragma once

#include "engine/policy.h"

extern char spellings[256][96];
extern int n_spellings;

int list_spellings(void **state); /* a cmocka group setup */
