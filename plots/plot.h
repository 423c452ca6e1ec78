/* Figures: plots/NAME.sql asks the database, plots/NAME.gp draws what it answered. Script and data
 * lie beside the figure afterwards, so that it can be redrawn and changed by hand. Figures whose
 * names begin alike may share the beginning of their queries (PREFIX_chosen.sql) and a style beside
 * style.gp (PREFIX_style.gp). */
#pragma once

#include "store/db.h"

/* Whether NAME.sql or NAME.gp is a figure's, and not what figures share. */
bool plot_is_figure(const char *name);

/* A figure's whole query: PREFIX_chosen.sql, where there is one, then NAME.sql. malloc'd; NULL on
 * error: EXIT_USAGE where there is no such query. */
char *plot_query(const char *name, struct err *e);

/* Which results; NULL: any. Bound to the query's ?1 (the run's number, 0 for any), ?2 and ?3. */
struct plot_choice {
    const char *run, *model, *dataset;
};

/* Writes NAME.tsv, NAME.gp, style.gp, NAME.svg and NAME.png into the folder `out`, which is made
 * where missing. EXIT_USAGE for an unknown figure or run, EXIT_CONTENT when there is nothing to
 * draw, EXIT_ENV when files cannot be written or gnuplot is missing, fails or takes longer than
 * five minutes. */
bool plot_figure(struct db *db, const char *name, const struct plot_choice *choice, const char *out,
                 struct err *e);

/* Draws a figure whose data were not asked of the database: `tsv` (size bytes, with a heading)
 * takes the place of the query's answer. Files and errors as above. */
bool plot_draw(const char *name, const char *out, const char *tsv, size_t size, struct err *e);
