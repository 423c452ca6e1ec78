/* Answers in words, and what texts have in common with each other. Inside the grader only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether the n bytes are this word, whatever the case of their letters. */
bool text_is(const char *s, size_t n, const char *word);

/* The plain form of a text: NFKC, case folded, without blanks, formats (\text, \left, ...) and a
 * sentence's punctuation. Commands, signs and braces that mean something stay. 0-ended; false where
 * it does not fit or is no UTF-8. */
bool text_plain(const char *s, size_t n, char *out, size_t room);

/* The letter of a multiple choice: "C", "(C)", "\text{(C)}", "\textbf{(C)}\ 5", "C. five"; 0: none.
 * *marked: it can be nothing else, as it stands in parentheses or in a text. */
char text_choice(const char *s, size_t n, bool *marked);

/* What the plain form of a text stands for in mathematics. */
enum text_meaning { TEXT_WORDS, TEXT_EMPTY_SET, TEXT_ALL_REALS, TEXT_UNDEFINED };
enum text_meaning text_meaning(const char *plain);

/* --- units (grade_unit.c) --------------------------------------------------------------------- */

/* A unit's own name, whatever its spelling ("cm" of "centimeters"); NULL: one that is not known. */
const char *unit_name(const char *plain);
/* Words that make the number before them something else: "5 or more", "10 a.m.". */
bool unit_is_none(const char *plain);
/* What a number word multiplies by, as digits, or divides by (*below); NULL: it is none. */
const char *unit_scale(const char *plain, bool *below);

/* Units as the parser writes them: "", "cm^2", "dollar / lb", "red apples". Whether values in a
 * and b may be compared as they stand: "" and "unit" are of any kind, and words may be left out. */
bool unit_same(const char *a, const char *b);
/* Whether one a is of_a / of_b to the given power of one b, and not one. */
bool unit_ratio(const char *a, const char *b, long *of_a, long *of_b, int *power);
