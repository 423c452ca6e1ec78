#include "analysis/grid.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct grid_column {
    const char *head;
    enum grid_align align;
};

void grid_column(struct grid *grid, enum grid_align align, const char *head) {
    CHECK(grid->n_cells == 0);
    grid->columns =
        must_realloc(grid->columns, (size_t)(grid->n_columns + 1) * sizeof *grid->columns);
    grid->columns[grid->n_columns++] = (struct grid_column){.head = head, .align = align};
}

void grid_cell(struct grid *grid, const char *format, ...) {
    grid->cells = must_realloc(grid->cells, (size_t)(grid->n_cells + 1) * sizeof *grid->cells);
    va_list args;
    va_start(args, format);
    CHECK(vasprintf(&grid->cells[grid->n_cells++], format, args) >= 0);
    va_end(args);
}

void grid_free(struct grid *grid) {
    for (int i = 0; i < grid->n_cells; i++)
        free(grid->cells[i]);
    free(grid->cells);
    free(grid->columns);
    *grid = (struct grid){0};
}

/* --- escaping -------------------------------------------------------------------- */

static void put_latex(char c, FILE *out) {
    if (strchr("&%$#_{}", c))
        fprintf(out, "\\%c", c);
    else if (c == '~' || c == '^')
        fprintf(out, "\\%c{}", c);
    else if (c == '\\')
        fputs("\\textbackslash{}", out);
    else if (c == '|')
        fputs("\\textbar{}", out);
    else if (c == '<' || c == '>')
        fprintf(out, "$%c$", c);
    else
        putc(c, out);
}

/* Whether the character would be markup: brackets only where a link could follow, < only before a
 * tag. */
static bool is_markup(char c, char next) {
    if (c == ']')
        return next && strchr("([:", next);
    if (c == '<')
        return isalpha((unsigned char)next) || (next && strchr("/!?", next));
    return strchr("\\`*_|#", c) != NULL;
}

void grid_text(const char *text, enum grid_style style, FILE *out) {
    for (const char *t = text; *t; t++) {
        char c = (unsigned char)*t < 0x20 || *t == 0x7f ? '?' : *t;
        if (style == GRID_MD && is_markup(c, t[1]))
            putc('\\', out);
        bool negative =
            c == '-' && isdigit((unsigned char)t[1]) && (t == text || strchr("[ ", t[-1]));
        if (style == GRID_LATEX && negative)
            fputs("$-$", out);
        else if (style == GRID_LATEX)
            put_latex(c, out);
        else
            putc(c, out);
    }
}

/* --- printing ---------------------------------------------------------------------- */

/* Characters of UTF-8 text: one place each on a terminal. */
static int places(const char *text) {
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Width of a column; 0 if all its cells are empty, and it is left out. */
static int width_of(const struct grid *grid, int column) {
    int widest = 0;
    for (int i = column; i < grid->n_cells; i += grid->n_columns) {
        int n = places(grid->cells[i]);
        widest = n > widest ? n : widest;
    }
    int head = places(grid->columns[column].head);
    return widest == 0 || widest > head ? widest : head;
}

static void put_aligned(const char *text, enum grid_align align, int width, enum grid_style style,
                        FILE *out) {
    int pad = width - places(text);
    if (align == GRID_RIGHT)
        fprintf(out, "%*s", pad, "");
    grid_text(text, style, out);
    if (align == GRID_LEFT && pad > 0)
        fprintf(out, "%*s", pad, "");
}

static void print_row(const struct grid *grid, const int *widths, const char *const *texts,
                      enum grid_style style, FILE *out) {
    static const char *const between[] = {"  ", " | ", " & "};
    static const char *const before[] = {"", "| ", "  "}, *const after[] = {"", " |", " \\\\"};
    fputs(before[style], out);
    bool first = true;
    for (int c = 0; c < grid->n_columns; c++) {
        if (widths[c] == 0)
            continue;
        if (!first)
            fputs(between[style], out);
        first = false;
        bool no_tail = c == grid->n_columns - 1 && style == GRID_TEXT;
        enum grid_align align = grid->columns[c].align;
        put_aligned(texts[c], align, no_tail && align == GRID_LEFT ? 0 : widths[c], style, out);
    }
    fprintf(out, "%s\n", after[style]);
}

static void print_rule(const struct grid *grid, const int *widths, enum grid_style style,
                       FILE *out) {
    if (style == GRID_LATEX) {
        fputs("  \\midrule\n", out);
        return;
    }
    const char *gap = style == GRID_MD ? "|" : "";
    for (int c = 0; c < grid->n_columns; c++) {
        if (widths[c] == 0)
            continue;
        bool right = grid->columns[c].align == GRID_RIGHT;
        fputs(gap, out);
        int dashes = widths[c] + (style == GRID_MD ? 2 - right : 0);
        for (int i = 0; i < dashes; i++)
            putc('-', out);
        if (style == GRID_MD && right)
            putc(':', out);
        gap = style == GRID_MD ? "|" : "  ";
    }
    fputs(style == GRID_MD ? "|\n" : "\n", out);
}

static void latex_begin(const struct grid *grid, const int *widths, FILE *out) {
    fputs("\\begin{tabular}{", out);
    for (int c = 0; c < grid->n_columns; c++)
        if (widths[c])
            putc(grid->columns[c].align == GRID_RIGHT ? 'r' : 'l', out);
    fputs("}\n  \\toprule\n", out);
}

void grid_print(const struct grid *grid, enum grid_style style, FILE *out) {
    CHECK(grid->n_columns > 0 && grid->n_cells % grid->n_columns == 0);
    int *widths = must_alloc((size_t)grid->n_columns * sizeof *widths);
    const char **heads = must_alloc((size_t)grid->n_columns * sizeof *heads);
    for (int c = 0; c < grid->n_columns; c++) {
        widths[c] = width_of(grid, c);
        heads[c] = grid->columns[c].head;
    }
    if (style == GRID_LATEX)
        latex_begin(grid, widths, out);
    print_row(grid, widths, heads, style, out);
    print_rule(grid, widths, style, out);
    for (int i = 0; i < grid->n_cells; i += grid->n_columns)
        print_row(grid, widths, (const char *const *)grid->cells + i, style, out);
    if (style == GRID_LATEX)
        fputs("  \\bottomrule\n\\end{tabular}\n", out);
    free(widths);
    free(heads);
}
