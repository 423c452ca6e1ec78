/* Profile strict: ours. Inside the grader only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Symmetric; reflexive for all that is not blank. */
bool strict_equal(const char *a, size_t a_size, const char *b, size_t b_size);
