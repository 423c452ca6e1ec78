#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "engine/tokenizer_parts.h"

/* --- a trie of the texts ----------------------------------------------------------- */

static int32_t new_node(struct added_set *set, unsigned char byte, int32_t sibling) {
    if (set->n_nodes == set->room) {
        set->room = set->room ? 2 * set->room : 256;
        set->nodes = must_realloc(set->nodes, set->room * sizeof *set->nodes);
    }
    if (set->n_nodes == 0) /* node 0 is never reached: 0 means none */
        set->nodes[set->n_nodes++] = (struct trie_node){.added = -1};
    set->nodes[set->n_nodes] = (struct trie_node){.sibling = sibling, .added = -1, .byte = byte};
    return (int32_t)set->n_nodes++;
}

static int32_t child_of(const struct added_set *set, int32_t node, unsigned char byte) {
    int32_t child = set->nodes[node].child;
    while (child && set->nodes[child].byte != byte)
        child = set->nodes[child].sibling;
    return child;
}

void added_put(struct added_set *set, struct added token) {
    unsigned char byte = (unsigned char)token.text[0];
    if (!set->first[byte])
        set->first[byte] = new_node(set, byte, 0);
    int32_t node = set->first[byte];
    for (size_t i = 1; i < token.size; i++) {
        byte = (unsigned char)token.text[i];
        int32_t child = child_of(set, node, byte);
        if (!child) {
            child = new_node(set, byte, set->nodes[node].child);
            set->nodes[node].child = child;
        }
        node = child;
    }
    int32_t *place = &set->nodes[node].added;
    if (*place >= 0) {
        free(set->added[*place].text);
        set->added[*place] = token;
        return;
    }
    *place = (int32_t)set->count;
    set->added = must_realloc(set->added, (set->count + 1) * sizeof *set->added);
    set->added[set->count++] = token;
}

void added_free(struct added_set *set) {
    for (size_t i = 0; i < set->count; i++)
        free(set->added[i].text);
    free(set->added);
    free(set->nodes);
}

/* --- looking for them --------------------------------------------------------------- */

/* The longest token that starts exactly here. */
static const struct added *longest_at(const struct added_set *set, const char *text, size_t size) {
    int32_t found = -1, node = set->first[(unsigned char)text[0]];
    for (size_t i = 1; node; i++) {
        if (set->nodes[node].added >= 0)
            found = set->nodes[node].added;
        node = i < size ? child_of(set, node, (unsigned char)text[i]) : 0;
    }
    return found < 0 ? NULL : &set->added[found];
}

static bool is_space(uint32_t code) {
    if ((code >= 9 && code <= 13) || code == 0x85)
        return true;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

/* A word character: letters, marks, decimal and letter numbers, connectors, joiners (Unicode TR
 * 18). */
static bool is_word(uint32_t code) {
    if (code == 0x200c || code == 0x200d)
        return true;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC;
}

/* Width of the character that ends at text + at (at > 0). */
static size_t width_before(const char *text, size_t at) {
    size_t width = 1;
    while (width < at && ((unsigned char)text[at - width] & 0xc0) == 0x80)
        width++;
    return width;
}

static bool word_before(const char *text, size_t at) {
    size_t width = at ? width_before(text, at) : 0;
    return at && is_word(utf8_code(text + at - width, width));
}

static bool word_behind(const char *text, size_t size, size_t at) {
    return at < size && is_word(utf8_code(text + at, utf8_width(text + at, size - at)));
}

static size_t strip_left(const char *text, size_t from, size_t start) {
    while (start > from) {
        size_t width = width_before(text, start);
        if (!is_space(utf8_code(text + start - width, width)))
            break;
        start -= width;
    }
    return start;
}

static size_t strip_right(const char *text, size_t size, size_t stop) {
    while (stop < size) {
        size_t width = utf8_width(text + stop, size - stop);
        if (!is_space(utf8_code(text + stop, width)))
            break;
        stop += width;
    }
    return stop;
}

bool added_next(const struct added_set *set, const char *text, size_t size, size_t from, size_t *at,
                size_t *start, size_t *stop, int32_t *id) {
    if (!set->count)
        return false;
    for (size_t i = *at; i < size; i++) {
        if (!set->first[(unsigned char)text[i]])
            continue;
        const struct added *a = longest_at(set, text + i, size - i);
        if (!a)
            continue;
        size_t end = i + a->size;
        if (a->single_word && (word_before(text, i) || word_behind(text, size, end))) {
            i = end - 1; /* the spelling is used up all the same, as the library does it */
            continue;
        }
        *start = a->left_strip && i > from ? strip_left(text, from, i) : i;
        *stop = a->right_strip ? strip_right(text, size, end) : end;
        *at = end;
        *id = a->id;
        return true;
    }
    return false;
}
