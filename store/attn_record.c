/* What the backend's threads do with attention: rows go into strips of 64 queries, which go to the
 * writer's thread when they are full. Each layer and KV head is told by one thread at a time, so
 * its planes need no lock. */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "store/attn_half.h"
#include "store/attn_private.h"

enum {
    SPARE_BYTES = 32 << 20, /* of a kind, waiting for the disk */
    OPEN_BYTES = 256 << 20, /* beyond it strips are lower */
    LOW = 16,
    LIVES_KEY = 40, /* bytes of lives, for each key and head and for each head */
    LIVES_HEAD = 8192,
};

/* --- sizes ------------------------------------------------------------------------------------ */

static int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

static void list_kv_heads(struct attn_file *f) {
    int group = f->params.n_heads / f->params.n_kv_heads;
    f->kv_heads = must_alloc((size_t)f->params.n_kv_heads * sizeof *f->kv_heads);
    for (int i = 0; i < f->params.heads.n; i++) {
        int32_t kv = f->params.heads.items[i] / group;
        if (!f->n_kv_heads || f->kv_heads[f->n_kv_heads - 1] != kv)
            f->kv_heads[f->n_kv_heads++] = kv;
    }
}

static size_t planes_of(const struct attn_file *f, int kind) {
    return (size_t)f->params.layers.n * (size_t)f->kinds[kind].n_heads;
}

static void lay_out(struct attn_file *f) {
    static const size_t items[KINDS] = {2, 4, 4, 1};
    const struct attn_params *p = &f->params;
    const bool present[KINDS] = {p->full, p->pooled, p->pooled, p->full && p->residency};
    int32_t pages = ceil_div(p->max_keys, ATTN_PAGE);
    uint64_t offset = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        struct attn_planes *k = &f->kinds[kind];
        int32_t keys = kind == KIND_MAX || kind == KIND_SUM ? pages : p->max_keys;
        k->present = present[kind];
        k->n_heads = kind == KIND_RESIDENT ? f->n_kv_heads : p->heads.n;
        k->item = items[kind];
        k->width = keys < ATTN_KEYS ? keys : ATTN_KEYS;
        k->blocks = ceil_div(keys, k->width);
        k->tile = (size_t)f->height * (size_t)k->width * k->item;
        k->strip = k->tile * (size_t)k->blocks;
        k->offset = offset;
        if (k->present)
            offset += planes_of(f, kind) * (uint64_t)f->n_stripes * k->strip;
    }
}

/* Everything but memory, the writer and the disk. */
static void measure(struct attn_file *f, const struct attn_params *p) {
    f->params = *p;
    f->first_query = p->prompt ? 0 : p->n_prompt;
    f->max_steps = p->max_keys - f->first_query;
    f->max_steps = f->max_steps < 1 ? 1 : f->max_steps;
    list_kv_heads(f);
    for (f->height = ATTN_STEPS;; f->height = LOW) {
        uint64_t open = 0;
        f->n_stripes = ceil_div(f->max_steps, f->height);
        lay_out(f);
        for (int kind = 0; kind < KINDS; kind++)
            open += f->kinds[kind].present ? planes_of(f, kind) * f->kinds[kind].strip : 0;
        if (f->height == LOW || open <= OPEN_BYTES)
            break;
    }
}

uint64_t attn_bytes(const struct attn_params *p) {
    struct attn_file f = {0};
    measure(&f, p);
    uint64_t raw = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        const struct attn_planes *k = &f.kinds[kind];
        for (int s = 0; k->present && s < f.n_stripes; s++) {
            int32_t last = f.first_query + (s + 1) * f.height;
            int32_t keys = kind == KIND_MAX || kind == KIND_SUM ? last / ATTN_PAGE : last;
            int32_t blocks = ceil_div(keys, k->width);
            raw +=
                planes_of(&f, kind) * k->tile * (uint64_t)(blocks < k->blocks ? blocks : k->blocks);
        }
    }
    free(f.kv_heads);
    uint64_t heads = (uint64_t)p->layers.n * (uint64_t)p->heads.n, keys = (uint64_t)p->max_keys;
    uint64_t lives = p->lives ? heads * (keys * LIVES_KEY + LIVES_HEAD) : 0;
    /* the packed file is rarely larger than half of it; tokens and names take a little */
    return raw + raw / 2 + lives + keys * 128 + (1 << 16);
}

/* --- begin ------------------------------------------------------------------------------------ */

static int16_t *slots(const int32_t *numbers, int n, int of) {
    int16_t *slot = must_alloc((size_t)of * sizeof *slot);
    for (int i = 0; i < of; i++)
        slot[i] = -1;
    for (int i = 0; i < n; i++) {
        CHECK(numbers[i] >= 0 && numbers[i] < of);
        slot[numbers[i]] = (int16_t)i;
    }
    return slot;
}

static void take_memory(struct attn_file *f) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct attn_planes *k = &f->kinds[kind];
        if (!k->present)
            continue;
        size_t planes = planes_of(f, kind), spare = SPARE_BYTES / k->strip + 4;
        k->n_strips = (int)(planes + (spare < planes ? spare : planes));
        k->open = must_zalloc(planes, sizeof *k->open);
        k->strips = must_zalloc((size_t)k->n_strips, sizeof *k->strips);
        k->memory = must_zalloc((size_t)k->n_strips, k->strip);
        for (int i = 0; i < k->n_strips; i++) {
            k->strips[i] = (struct attn_strip){
                .next = k->spare, .file = f, .data = k->memory + (size_t)i * k->strip};
            k->spare = &k->strips[i];
        }
    }
}

static struct attn_numbers copy_numbers(const struct attn_numbers *from) {
    size_t bytes = (size_t)from->n * sizeof *from->items;
    return (struct attn_numbers){from->n, memcpy(must_alloc(bytes), from->items, bytes)};
}

static bool check_disk(const struct attn_params *p, struct err *e) {
    struct statvfs disk;
    char *folder = must_strdup(p->path), *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    uint64_t need = attn_bytes(p);
    bool ok = statvfs(slash ? folder : ".", &disk) == 0 || err_errno(e, EXIT_ENV, "%s", p->path);
    uint64_t free_bytes = ok ? (uint64_t)disk.f_bavail * disk.f_frsize : 0;
    if (ok && free_bytes < need)
        ok = err_set(e, EXIT_ENV,
                     "%s: up to %.1f MB are needed while it is recorded, %.1f MB are free: fewer "
                     "layers or heads, mode pooled, or another disk",
                     p->path, 1e-6 * (double)need, 1e-6 * (double)free_bytes);
    free(folder);
    return ok;
}

struct attn_file *attn_begin(struct attn_writer *writer, const struct attn_params *p,
                             struct err *e) {
    CHECK((p->full || p->pooled || p->lives) && p->layers.n > 0 && p->heads.n > 0);
    if (!file_folders(p->path, e) || !check_disk(p, e))
        return NULL;
    struct attn_file *f = must_zalloc(1, sizeof *f);
    measure(f, p);
    f->writer = writer;
    f->fd = -1;
    f->params.path = must_strdup(p->path);
    f->params.layers = copy_numbers(&p->layers);
    f->params.heads = copy_numbers(&p->heads);
    f->layer_slot = slots(f->params.layers.items, p->layers.n, p->n_layers);
    f->head_slot = slots(f->params.heads.items, p->heads.n, p->n_heads);
    f->kv_slot = slots(f->kv_heads, f->n_kv_heads, p->n_kv_heads);
    f->raw_path = must_alloc(strlen(p->path) + 16);
    strcat(strcpy(f->raw_path, p->path), ".raw.part");
    take_memory(f);
    return f;
}

/* --- rows ------------------------------------------------------------------------------------- */

struct place {                /* of one query */
    int32_t step, row, query; /* row: in its strip */
};

/* The strip of a plane that this query falls into. */
static struct attn_strip *strip_of(struct attn_file *f, int kind, size_t plane,
                                   const struct place *at) {
    struct attn_planes *k = &f->kinds[kind];
    struct attn_strip **open = &k->open[plane];
    int32_t stripe = at->step / f->height;
    if (*open)
        return *open;
    *open = attn_spare(f->writer, k);
    (*open)->offset = k->offset + (plane * (uint64_t)f->n_stripes + (uint64_t)stripe) * k->strip;
    (*open)->pitch = attn_pitch(f, kind, stripe);
    return *open;
}

/* Where number `key` of row `row` lies, in items. Tiles side by side are ATTN_KEYS wide each. */
static inline size_t item_at(const struct attn_file *f, const struct attn_planes *k, int32_t pitch,
                             int32_t row, int32_t key) {
    if (k->blocks == 1)
        return (size_t)row * (size_t)pitch + (size_t)key;
    return ((size_t)(key / ATTN_KEYS) * (size_t)f->height + (size_t)row) * ATTN_KEYS +
           (size_t)(key % ATTN_KEYS);
}

/* Zeros for what is born; the second pass knows what is not. */
static void clear_row(const struct attn_file *f, const struct attn_planes *k, struct attn_strip *s,
                      int32_t row, int32_t born) {
    for (int32_t key = 0; key < born; key += k->width) {
        int32_t n = born - key < k->width ? born - key : k->width;
        memset(s->data + item_at(f, k, s->pitch, row, key) * k->item, 0, (size_t)n * k->item);
    }
    s->used = k->blocks == 1 ? (size_t)(row + 1) * (size_t)s->pitch * k->item
                             : (size_t)ceil_div(born, k->width) * k->tile; /* rises row by row */
}

static void close_row(struct attn_file *f, struct attn_planes *k, size_t plane,
                      const struct place *at) {
    if (at->row + 1 < f->height)
        return;
    attn_send(f->writer, k->open[plane]);
    k->open[plane] = NULL;
}

/* Tokens from number i of the row on whose positions follow each other, within one tile. */
static int32_t run_of(const struct attention_row *row, int32_t i) {
    int32_t first = row->position[i], n = row->n - i, most = ATTN_KEYS - first % ATTN_KEYS, j = 1;
    most = most < n ? most : n;
    while (j < most && row->position[i + j] == first + j)
        j++;
    return j;
}

/* All recorded heads of the row's group: most positions follow each other in most rows. */
static void put_full(struct attn_file *f, const size_t *plane, const int *group, int n_planes,
                     const struct place *at, const struct attention_row *row) {
    struct attn_planes *k = &f->kinds[KIND_FULL];
    for (int p = 0; p < n_planes; p++)
        clear_row(f, k, strip_of(f, KIND_FULL, plane[p], at), at->row, at->query + 1);
    int32_t pitch = n_planes ? k->open[plane[0]]->pitch : 0;
    for (int32_t i = 0, n; i < row->n; i += n) {
        size_t item = item_at(f, k, pitch, at->row, row->position[i]);
        n = run_of(row, i);
        for (int p = 0; p < n_planes; p++)
            half_narrow(row->prob + (size_t)group[p] * (size_t)row->n + i, (size_t)n,
                        (uint16_t *)k->open[plane[p]]->data + item);
    }
    for (int p = 0; p < n_planes; p++)
        close_row(f, k, plane[p], at);
}

static inline float larger(float a, float b) { return a > b ? a : b; }

/* Max and sum of n numbers, in four strands that meet in a fixed order. */
static void pool(const float *p, int32_t n, float *max, float *sum) {
    float a = 0, b = 0, c = 0, d = 0, w = 0, x = 0, y = 0, z = 0;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += p[i], b += p[i + 1], c += p[i + 2], d += p[i + 3];
        w = larger(p[i], w), x = larger(p[i + 1], x);
        y = larger(p[i + 2], y), z = larger(p[i + 3], z);
    }
    for (; i < n; i++)
        a += p[i], w = larger(p[i], w);
    *max = larger(larger(larger(w, x), larger(y, z)), *max);
    *sum += (a + b) + (c + d);
}

static void put_pooled(struct attn_file *f, const size_t *plane, const int *group, int n_planes,
                       const struct place *at, const struct attention_row *row) {
    struct attn_planes *most = &f->kinds[KIND_MAX], *all = &f->kinds[KIND_SUM];
    int32_t born = at->query / ATTN_PAGE + 1;
    for (int p = 0; p < n_planes; p++) {
        clear_row(f, most, strip_of(f, KIND_MAX, plane[p], at), at->row, born);
        clear_row(f, all, strip_of(f, KIND_SUM, plane[p], at), at->row, born);
    }
    int32_t pitch = n_planes ? most->open[plane[0]]->pitch : 0;
    for (int32_t i = 0, n; i < row->n; i += n) { /* a page's tokens mostly lie side by side */
        int32_t page = row->position[i] / ATTN_PAGE;
        size_t item = item_at(f, most, pitch, at->row, page);
        for (n = 1; i + n < row->n && row->position[i + n] / ATTN_PAGE == page;)
            n++;
        for (int p = 0; p < n_planes; p++)
            pool(row->prob + (size_t)group[p] * (size_t)row->n + i, n,
                 (float *)most->open[plane[p]]->data + item,
                 (float *)all->open[plane[p]]->data + item);
    }
    for (int p = 0; p < n_planes; p++) {
        close_row(f, most, plane[p], at);
        close_row(f, all, plane[p], at);
    }
}

static void put_resident(struct attn_file *f, size_t plane, const struct place *at,
                         const struct attention_row *row) {
    struct attn_planes *k = &f->kinds[KIND_RESIDENT];
    struct attn_strip *s = strip_of(f, KIND_RESIDENT, plane, at);
    clear_row(f, k, s, at->row, at->query + 1);
    uint8_t *out = (uint8_t *)s->data;
    for (int32_t i = 0; i < row->n_resident; i++)
        out[item_at(f, k, s->pitch, at->row, row->resident[i])] = ATTN_RESIDENT;
    for (int32_t i = 0; i < row->n; i++)
        out[item_at(f, k, s->pitch, at->row, row->position[i])] = ATTN_RESIDENT | ATTN_ATTENDED;
    close_row(f, k, plane, at);
}

void attn_watch(void *user, const struct attention_row *row) {
    struct attn_file *f = user;
    int layer = f->layer_slot[row->layer], kv = f->kv_slot[row->kv_head];
    struct place at = {.step = row->query - f->first_query, .query = row->query};
    if (layer < 0 || kv < 0 || at.step < 0 || atomic_load(&f->dead))
        return;
    CHECK(at.step < f->max_steps);
    at.row = at.step % f->height;
    enum { GROUP = 64 }; /* heads at a time */
    for (int g = 0; g < row->group;) {
        size_t plane[GROUP];
        int group[GROUP], n = 0;
        for (; g < row->group && n < GROUP; g++) {
            int head = f->head_slot[row->kv_head * row->group + g];
            if (head >= 0)
                plane[n] = (size_t)layer * (size_t)f->params.heads.n + (size_t)head, group[n++] = g;
        }
        if (f->params.full)
            put_full(f, plane, group, n, &at, row);
        if (f->params.pooled)
            put_pooled(f, plane, group, n, &at, row);
    }
    if (f->kinds[KIND_RESIDENT].present)
        put_resident(f, (size_t)layer * (size_t)f->n_kv_heads + (size_t)kv, &at, row);
}
