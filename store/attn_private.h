/* Shared by the writing side: what decoding fills (attn_record.c), the thread that puts it on the
 * disk (attn_writer.c), and the second pass that makes the file (attn_pack.c). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "store/attn.h"

/* What a file is made of before it is packed. A plane is what one layer and head gave to the keys,
 * query after query; it lies in tiles of `height` queries and `width` keys. All tiles of a plane
 * have their place in the raw file, so what was never written is a hole. Where one tile is as wide
 * as all keys, its rows are only as long as keys are born by its last query (attn_pitch). */
enum attn_kind { KIND_FULL, KIND_MAX, KIND_SUM, KIND_RESIDENT, KINDS };

struct attn_strip { /* the tiles of a plane side by side: `height` queries, all keys */
    struct attn_strip *next;
    struct attn_file *file;
    uint64_t offset; /* in the raw file */
    size_t used;     /* bytes from its start that hold anything */
    int32_t pitch;   /* attn_pitch */
    char *data;      /* [blocks][height][pitch] */
};

struct attn_planes { /* of one kind */
    bool present;
    int n_heads;               /* planes = layers * n_heads */
    size_t item;               /* bytes of a number */
    int32_t width;             /* keys (or pages) of a tile */
    int32_t blocks;            /* tiles side by side */
    size_t tile, strip;        /* bytes */
    uint64_t offset;           /* of the kind in the raw file */
    struct attn_strip **open;  /* [planes] being filled; NULL: none yet */
    struct attn_strip *strips; /* [n_strips] all there are */
    int n_strips;
    char *memory;
    struct attn_strip *spare; /* under the writer's lock, as `next` of all strips */
};

struct attn_file {
    struct attn_writer *writer;
    struct attn_params params;                         /* the path and lists are its own */
    int32_t first_query, max_steps, height, n_stripes; /* n_stripes: strips of a plane */
    int16_t *layer_slot, *head_slot, *kv_slot; /* of the model's numbers; -1: not recorded */
    int32_t *kv_heads;                         /* [n_kv_heads recorded] */
    int n_kv_heads;
    struct attn_planes kinds[KINDS];
    atomic_bool dead; /* an error has been told */
    bool abandoned;
    int fd; /* the raw file; of the writer's thread */
    char *raw_path;
    /* at the end */
    struct attn_tokens tokens;
    struct attn_note *notes;
    int n_notes;
    struct attn_array *lives; /* names and data are its own */
    int n_lives;
    int32_t lives_keys;
    struct attn_file *next; /* in the writer's list of files that have ended */
};

/* Numbers from one row of a tile to the next, of strip number `stripe` of a plane. */
static inline int32_t attn_pitch(const struct attn_file *f, int kind, int32_t stripe) {
    const struct attn_planes *k = &f->kinds[kind];
    int32_t last = f->first_query + (stripe + 1) * f->height - 1;
    int32_t born = (kind == KIND_MAX || kind == KIND_SUM ? last / ATTN_PAGE : last) + 1;
    return k->blocks == 1 && born < k->width ? born : k->width;
}

/* attn_end.c */
void attn_file_free(struct attn_file *file);
size_t attn_array_bytes(const struct attn_array *array, int layers, int heads, int32_t n_keys);

/* attn_writer.c: strips go to the disk in the order of this call; takes one back when it is there.
 */
void attn_send(struct attn_writer *writer, struct attn_strip *strip);
struct attn_strip *attn_spare(struct attn_writer *writer, struct attn_planes *planes);
void attn_finish(struct attn_writer *writer, struct attn_file *file);
/* Writes the strips that wait: the second pass of one file must not keep the decoding of the next
 * one waiting. */
void attn_breathe(struct attn_writer *writer);

/* attn_pack.c: the raw file as PATH, whole and verified; *bytes is its size. */
bool attn_pack(struct attn_file *file, uint64_t *bytes, struct err *e);

/* attn_seal.c */
enum { ATTN_SEAL = 512 };
/* Writes the user block over what lies behind it, and syncs. */
bool attn_seal(const char *path, uint64_t *bytes, struct err *e);
bool attn_check_seal(const char *path, struct err *e);
