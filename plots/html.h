/* HTML written from foreign text: nothing of it ends an element, an attribute or a script. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* Text between tags or in a quoted attribute: & < > " ' are escaped; what is no UTF-8, control
 * characters but tab and newline become U+FFFD; characters that turn the direction of writing are
 * spelled, [U+202E]. */
void html_text(const char *text, FILE *out);

/* JSON for <script type="application/json">: < > & inside its strings are written as \u003c and the
 * like, so that no text in it can end the element. */
void html_json(const char *json, FILE *out);

enum { HTML_HASH = 64 };
/* "sha256-..." by which a Content-Security-Policy names an inline script of these bytes. */
void html_script_hash(const char *script, char out[HTML_HASH]);

/* Puts an SVG file's element into a page: the prolog is left out, and `prefix` stands in front of
 * every id and reference, so that figures don't share names. Only shapes, text and gradients pass;
 * anything that could run or load (script, style, foreignObject, image, event attributes,
 * references to elsewhere) refuses the file: EXIT_CONTENT, with `name` in front, and nothing
 * written. `watermark` (NULL: none) is written across it. */
bool html_svg(const char *svg, const char *name, const char *prefix, const char *watermark,
              FILE *out, struct err *e);
