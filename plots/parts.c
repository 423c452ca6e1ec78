#include "plots/parts.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "plots/plot.h"

void parts_quote(FILE *out, const char *text) {
    putc('\'', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n')
            fputs("\\n", out);
        else if (c == '\'')
            fputs("''", out);
        else
            putc(c < 0x20 || c == 0x7f ? '?' : c, out);
    }
    putc('\'', out);
}

bool parts_step(const struct attn_tokens *t, int32_t k, char name[16]) {
    if (!t->gold_step || !k || t->gold_step[k] < 0 || t->gold_step[k] == t->gold_step[k - 1])
        return false;
    if (strncmp(t->text[k], "Step", 4) != 0)
        strcpy(name, "answer");
    else
        snprintf(name, 16, "%d", t->gold_step[k] + 1);
    return true;
}

void parts_title(const struct attn_reader *reader, FILE *out, const char *what) {
    static const char *const names[] = {"model", "sample", "policy", "budget", "solution"};
    char text[700], *notes[5];
    for (int i = 0; i < 5; i++) {
        notes[i] = attn_note(reader, names[i]);
        notes[i] = notes[i] ? notes[i] : must_strdup("?");
    }
    bool budget = strcmp(notes[3], "0") != 0;
    snprintf(text, sizeof text, "%s on %s, %s%s%s%s: %s", notes[0], notes[1], notes[2],
             budget ? " budget " : "", budget ? notes[3] : "",
             strcmp(notes[4], "gold") ? "" : ", gold solution forced", what);
    fputs("title = ", out);
    parts_quote(out, text);
    putc('\n', out);
    for (int i = 0; i < 5; i++)
        free(notes[i]);
}

void parts_open(struct parts *p) {
    for (int i = 0; i < 3; i++)
        CHECK((p->file[i] = open_memstream(&p->bytes[i], &p->size[i])));
}

bool parts_draw(struct parts *p, bool ok, const char *name, const char *out, struct err *e) {
    static const char *const endings[] = {"_data.gp", ".bin"};
    char path[PATH_MAX];
    for (int i = 0; i < 3; i++)
        CHECK(fclose(p->file[i]) == 0);
    for (int i = 0; ok && i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", out, name, endings[i]);
        ok = file_folders(path, e) && file_write(path, p->bytes[i], p->size[i], NULL, 0, e);
    }
    ok = ok && plot_draw(name, out, p->bytes[2], p->size[2], e);
    for (int i = 0; i < 3; i++)
        free(p->bytes[i]);
    return ok;
}
