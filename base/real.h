/* Decimal numbers as text, with '.' whatever the locale. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REAL_TEXT 32 /* room for any spelled double */

/* Spells a finite double with the fewest of 15, 16 or 17 digits that read back as the same number;
 * "inf",
 * "-inf" and "nan" otherwise. Returns the length. */
size_t real_spell(double value, char out[REAL_TEXT]);

/* Reads a whole text as a decimal number: [+-] digits [. digits] [e [+-] digits], at least one
 * digit before the exponent. false for anything else (hexadecimal, spaces, nan, inf) and beyond the
 * range of a double. */
bool real_parse(const char *text, double *out);
