/* Answers in words, and what texts have in common with each other. Inside the grader only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether the n bytes are this word, whatever the case of their letters. */
bool text_is(const char *s, size_t n, const char *word);

/* The plain form of a text: NFKC, case folded, without blanks, markup and punctuation, but for what
 * stands between digits ("4:30", "1.5"). 0-ended; false where it does not fit or is no UTF-8. */
bool text_plain(const char *s, size_t n, char *out, size_t room);

/* The letter of a multiple choice: "C", "(C)", "\text{(C)}", "\textbf{(C)}\ 5", "C. five"; 0: none.
 * *marked: it can be nothing else, as it stands in parentheses or in a text. */
char text_choice(const char *s, size_t n, bool *marked);

/* What the plain form of a text stands for in mathematics. */
enum text_meaning { TEXT_WORDS, TEXT_EMPTY_SET, TEXT_ALL_REALS, TEXT_UNDEFINED };
enum text_meaning text_meaning(const char *plain);

/* The unit that a plain word names, whatever its spelling ("cm", "centimeters"); 0: one that is not
 * known. */
int text_unit(const char *plain);
