/* A grid of text: columns with headings, filled row by row, printed aligned for a terminal, as
 * Markdown or as LaTeX (booktabs). Columns without any text are left out. */
#pragma once

#include <stdio.h>

struct grid {
    struct grid_column *columns;
    int n_columns;
    char **cells; /* n_cells texts, row by row */
    int n_cells;
};
enum grid_align { GRID_LEFT, GRID_RIGHT };
enum grid_style { GRID_TEXT, GRID_MD, GRID_LATEX };

/* `head` is borrowed (a literal). All columns come before the first cell. */
void grid_column(struct grid *grid, enum grid_align align, const char *head);
void grid_cell(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Escapes for the style: control characters become '?' everywhere. */
void grid_print(const struct grid *grid, enum grid_style style, FILE *out);
void grid_text(const char *text, enum grid_style style, FILE *out); /* escaped in the same way */
void grid_free(struct grid *grid);
