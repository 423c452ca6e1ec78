/* Chunks of the second pass: filtered by the threads of a pool, written and read back by one, since
 * the library knows no more. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/machine.h"
#include "store/attn_filter.h"
#include "store/attn_half.h"
#include "store/attn_pack.h"

static bool read_at(int fd, char *data, size_t size, uint64_t offset) {
    while (size) {
        ssize_t n = pread(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0) { /* the end of the file is a hole, too */
            memset(data, 0, size);
            return true;
        }
        data += n, size -= (size_t)n, offset += (uint64_t)n;
    }
    return true;
}

void chunks_fill(int kind, char *at, size_t n) {
    uint16_t *half = (uint16_t *)at;
    float *single = (float *)at;
    if (kind == KIND_RESIDENT)
        memset(at, 0, n);
    else if (kind == KIND_FULL)
        for (size_t i = 0; i < n; i++)
            half[i] = HALF_NAN;
    else
        for (size_t i = 0; i < n; i++)
            single[i] = NAN;
}

/* Keys of the chunk that are born when its query number i is made; 0 behind the last. */
static size_t born_keys(const struct pack *p, const struct chunk *c, int32_t i) {
    int32_t query = p->f->first_query + c->step + i;
    int32_t born = (is_paged(c->kind) ? query / ATTN_PAGE : query) + 1 - c->key;
    born = born < 0 || i >= c->n_steps ? 0 : born;
    return (size_t)(born < c->n_keys ? born : c->n_keys);
}

/* Rows [done, done + height) of a chunk, from its strip's tile. */
static bool load_strip(struct pack *p, const struct chunk *c, struct hand *hand, int32_t done) {
    const struct attn_file *f = p->f;
    const struct attn_planes *k = &f->kinds[c->kind];
    uint64_t plane = (uint64_t)c->layer * (uint64_t)k->n_heads + (uint64_t)c->head;
    int32_t stripe = (c->step + done) / f->height, steps = steps_of_chunk(p);
    size_t pitch = (size_t)attn_pitch(f, c->kind, stripe) * k->item;
    size_t keys = (size_t)keys_of_chunk(p, c->kind);
    uint64_t at = k->offset + (plane * (uint64_t)f->n_stripes + (uint64_t)stripe) * k->strip +
                  (uint64_t)(c->key / k->width) * k->tile;
    if (done < c->n_steps && !read_at(f->fd, hand->raw, (size_t)f->height * pitch, at))
        return false;
    for (int32_t i = 0; i < f->height && done + i < steps; i++) {
        char *to = hand->chunk + (size_t)(done + i) * keys * k->item;
        size_t born = born_keys(p, c, done + i);
        memcpy(to, hand->raw + (size_t)i * pitch, born * k->item);
        chunks_fill(c->kind, to + born * k->item, keys - born);
    }
    return true;
}

/* What a chunk of the dataset holds: [steps][keys], the fill value behind the dataset's edges. */
static bool load(struct pack *p, const struct chunk *c, struct hand *hand) {
    bool ok = true;
    for (int32_t done = 0; ok && done < steps_of_chunk(p); done += p->f->height)
        ok = load_strip(p, c, hand, done);
    return ok;
}

static size_t chunk_bytes(const struct pack *p, int kind) {
    return (size_t)steps_of_chunk(p) * (size_t)keys_of_chunk(p, kind) * p->f->kinds[kind].item;
}

/* By the threads of the pool: raw to packed. */
static void encode(void *context, int task, int thread) {
    struct pack *p = context;
    struct chunk *c = &p->batch[task];
    struct hand *hand = &p->hands[thread];
    c->ok = load(p, c, hand);
    if (c->ok)
        c->size = filter_encode(hand->chunk, chunk_bytes(p, c->kind), p->f->kinds[c->kind].item,
                                hand->scratch, c->packed);
}

/* By the threads of the pool: what was read back against the raw file. */
static void compare(void *context, int task, int thread) {
    struct pack *p = context;
    struct chunk *c = &p->batch[task];
    struct hand *hand = &p->hands[thread];
    size_t bytes = chunk_bytes(p, c->kind);
    c->ok = load(p, c, hand) &&
            filter_decode(c->packed, c->size, bytes, p->f->kinds[c->kind].item, hand->scratch,
                          hand->back) &&
            !memcmp(hand->back, hand->chunk, bytes);
}

static bool put_chunks(struct pack *p, int n, struct err *e) {
    pool_run(p->pool, n, encode, p);
    for (int i = 0; i < n; i++) {
        struct chunk *c = &p->batch[i];
        const hsize_t at[4] = {(hsize_t)c->layer, (hsize_t)c->head, (hsize_t)c->step,
                               (hsize_t)c->key};
        if (!c->ok)
            return err_errno(e, EXIT_ENV, "%s", p->f->raw_path);
        if (H5Dwrite_chunk(p->set[c->kind], H5P_DEFAULT, 0, at, c->size, c->packed) < 0)
            return h5_fail(e, EXIT_ENV, p->path, attn_set_names[c->kind]);
    }
    return true;
}

static bool check_chunks(struct pack *p, int n, struct err *e) {
    for (int i = 0; i < n; i++) {
        struct chunk *c = &p->batch[i];
        const hsize_t at[4] = {(hsize_t)c->layer, (hsize_t)c->head, (hsize_t)c->step,
                               (hsize_t)c->key};
        hsize_t size = 0;
        uint32_t filters = 1;
        if (H5Dget_chunk_storage_size(p->set[c->kind], at, &size) < 0 ||
            size > filter_room(chunk_bytes(p, c->kind)) ||
            H5Dread_chunk(p->set[c->kind], H5P_DEFAULT, at, &filters, c->packed) < 0 || filters)
            return h5_fail(e, EXIT_ENV, p->path, attn_set_names[c->kind]);
        c->size = (size_t)size;
    }
    pool_run(p->pool, n, compare, p);
    for (int i = 0; i < n; i++)
        if (!p->batch[i].ok)
            return err_set(e, EXIT_ENV,
                           "%s: %s does not hold what was written: the disk or memory fails",
                           p->path, attn_set_names[p->batch[i].kind]);
    return true;
}

typedef bool take_chunks(struct pack *p, int n, struct err *e);

/* One more chunk; a full batch is taken. */
static bool add_chunk(struct pack *p, const struct chunk *c, int *n, take_chunks *take,
                      struct err *e) {
    char *packed = p->batch[*n].packed;
    p->batch[*n] = *c;
    p->batch[(*n)++].packed = packed;
    if (*n < p->n_batch)
        return true;
    *n = 0;
    attn_breathe(p->f->writer);
    return take(p, p->n_batch, e);
}

/* Every chunk that holds a born key; the others stay unallocated. */
static bool each_chunk(struct pack *p, take_chunks *take, struct err *e) {
    int n = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        const struct attn_planes *k = &p->f->kinds[kind];
        struct chunk c = {.kind = kind};
        if (!k->present)
            continue;
        int32_t keys = keys_of(p, kind), scale = is_paged(kind) ? ATTN_PAGE : 1;
        int32_t planes = p->f->params.layers.n * k->n_heads;
        for (int32_t plane = 0; plane < planes; plane++)
            for (c.step = 0; c.step < p->n_steps; c.step += ATTN_STEPS) {
                int32_t left = p->n_steps - c.step;
                c.layer = plane / k->n_heads, c.head = plane % k->n_heads;
                c.n_steps = left < ATTN_STEPS ? left : ATTN_STEPS;
                int32_t last = p->f->first_query + c.step + c.n_steps - 1;
                for (c.key = 0; c.key < keys && c.key * scale <= last; c.key += k->width) {
                    c.n_keys = keys - c.key < k->width ? keys - c.key : k->width;
                    if (!add_chunk(p, &c, &n, take, e))
                        return false;
                }
            }
    }
    return take(p, n, e);
}

bool chunks_write(struct pack *p, struct err *e) { return each_chunk(p, put_chunks, e); }
bool chunks_check(struct pack *p, struct err *e) { return each_chunk(p, check_chunks, e); }

/* --- threads ---------------------------------------------------------------------------------- */

void chunks_open(struct pack *p) {
    enum { ROOM = ATTN_STEPS * ATTN_KEYS * sizeof(float), A_THREAD = 4, MOST_THREADS = 16 };
    int cores = machine_cores();
    p->pool = pool_open(cores < MOST_THREADS ? cores : MOST_THREADS);
    int threads = pool_threads(p->pool);
    p->n_batch = A_THREAD * threads;
    p->hands = must_zalloc((size_t)threads, sizeof *p->hands);
    p->batch = must_zalloc((size_t)p->n_batch, sizeof *p->batch);
    for (int i = 0; i < threads; i++) {
        char *all = must_alloc(4 * ROOM);
        p->hands[i] = (struct hand){all, all + ROOM, all + 2 * ROOM, all + 3 * ROOM};
    }
    for (int i = 0; i < p->n_batch; i++)
        p->batch[i].packed = must_alloc(filter_room(ROOM));
}

void chunks_close(struct pack *p) {
    for (int i = 0; i < pool_threads(p->pool); i++)
        free(p->hands[i].raw);
    for (int i = 0; i < p->n_batch; i++)
        free(p->batch[i].packed);
    free(p->hands);
    free(p->batch);
    pool_close(p->pool);
}
