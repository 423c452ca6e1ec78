/* The parts of a tokenizer, shared by the tokenizer_*.c files alone. Text flows through them in
 * this order: added tokens (tokenizer_added.c) cut the text at their spellings, before and after
 * the normalizer; the normalizer (tokenizer_normal.c) rewrites what is left; the pre-tokenizer
 * (tokenizer_split.c) cuts that into pieces by regular expressions; the model (tokenizer_bpe.c,
 * tokenizer_merge.c) turns each piece into ids of the vocabulary (tokenizer_vocab.c); the
 * post-processor's template puts fixed ids around them. The decoder (tokenizer_decode.c) leads back
 * to text. A new kind of component is a new enum value (or step) here and a row in
 * tokenizer_read_front.c or tokenizer_read_back.c. */
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/json.h"
#include "engine/tokenizer.h"

#define TOKENIZER_IDS (1 << 22)          /* ids beyond are taken for damage */
#define TOKENIZER_TEXT ((size_t)1 << 29) /* longest text of one call */

/* --- vocabulary --------------------------------------------------------------- */

struct piece {
    size_t offset; /* into vocab.bytes */
    uint32_t size;
    bool known; /* false: a hole in the ids */
    bool special;
    bool raw; /* the spelling is no byte-level text: the bytes are the spelling itself */
    uint32_t text_size;
    size_t text_offset; /* what the decoder makes of the token alone: its bytes, unless said */
};

/* Tokens by id and by bytes. Byte-level spellings (each byte as one printable character, "Ġthe")
 * are stored as the bytes that they stand for, unless the vocabulary is verbatim. */
struct vocab {
    bool verbatim;        /* all spellings stand for themselves; set before the first vocab_add */
    struct piece *pieces; /* by id, `count` of them */
    int count;            /* highest id + 1 */
    char *bytes;
    size_t size, room;
    int32_t *table; /* open addressing: id + 1, 0 = free */
    size_t mask;
};

void vocab_open(struct vocab *v, int count, size_t n_tokens);
void vocab_free(struct vocab *v);
void vocab_add(struct vocab *v, int32_t id, const char *spelling); /* a free id, a new spelling */
int32_t vocab_find(const struct vocab *v, const char *spelling);   /* -1 if absent */
void vocab_set_text(struct vocab *v, int32_t id, const char *text, size_t size);
/* The token of exactly these bytes, a byte-level one unless the vocabulary is verbatim; -1 if
 * absent. */
int32_t vocab_find_bytes(const struct vocab *v, const char *bytes, size_t size);

/* --- BPE ------------------------------------------------------------------------- */

struct merge {
    uint64_t pair; /* left id << 32 | right id; all ones = free */
    int32_t rank, id;
};

/* A piece starts as one symbol a byte, or, of a verbatim vocabulary, one a character. */
struct bpe {
    struct merge *merges; /* open addressing */
    size_t mask;
    int32_t n_ranks;          /* highest rank + 1 */
    int32_t byte_id[256];     /* of a text of this one byte; -1: the vocabulary lacks it */
    int32_t unknown;          /* id for what the vocabulary lacks; -1: that is an error */
    bool fuse_unknown;        /* one id for a run of it */
    bool whole_first;         /* ignore_merges: a piece that is a token as a whole stays one */
    bool fallback;            /* byte_fallback: unknown characters become their bytes' tokens ... */
    int32_t fallback_id[256]; /* ... <0x00> to <0xFF>, -1: absent */
    uint64_t *meetings;       /* bits: which characters a merge can join; NULL: any */
};

struct bpe_scratch {
    int32_t *symbols; /* ids not merged yet */
    size_t n_symbols, room;
    uint32_t last;           /* the last one's last character */
    struct bpe_queue *queue; /* for long pieces; made when the first comes */
};

void bpe_open(struct bpe *b, const struct vocab *v, size_t n_merges);
void bpe_add(struct bpe *b, int32_t left, int32_t right, int32_t rank,
             int32_t id); /* last one counts */
/* Once all merges are in: makes long pieces faster, changes no id. Optional. */
void bpe_seal(struct bpe *b, const struct vocab *v);
void bpe_free(struct bpe *b);
const struct merge *bpe_find(const struct bpe *b, int32_t left, int32_t right); /* NULL: none */
/* Appends the ids of one piece: linear in its size but for sorting. false (EXIT_CONTENT) for what
 * has no token. */
bool bpe_encode(const struct bpe *b, const struct vocab *v, struct bpe_scratch *scratch,
                const char *piece, size_t size, struct id_list *out, struct err *e);
void bpe_scratch_free(struct bpe_scratch *scratch);

/* Merges the scratch's symbols, appends what is left of them and empties it. */
void bpe_merge(const struct bpe *b, struct bpe_scratch *scratch, struct id_list *out);
void bpe_queue_free(struct bpe_queue *queue);

/* --- normalizer --------------------------------------------------------------------- */

enum normal_kind { NORMAL_NFC, NORMAL_PREPEND, NORMAL_REPLACE };

struct normal_step {
    enum normal_kind kind;
    char *from, *to; /* owned; NULL where the kind has none. PREPEND: to; REPLACE: texts */
};

#define NORMAL_STEPS 16

/* Adds a step; from and to are copied. false when there are too many. */
bool normal_add(struct tokenizer *t, enum normal_kind kind, const char *from, const char *to);
void normal_free(struct tokenizer *t);
/* What all steps make of valid UTF-8: *out is malloc'd, NULL when the text stays as it is. false
 * (EXIT_CONTENT) where they let it grow beyond NORMAL_GROWTH times its size and NORMAL_SPARE. */
#define NORMAL_GROWTH 64
#define NORMAL_SPARE ((size_t)1 << 20)
bool normal_text(const struct tokenizer *t, const char *text, size_t size, char **out,
                 size_t *out_size, struct err *e);
/* The size that normal_replace would give, without memory for it. */
size_t normal_replaced(const char *from, const char *to, const char *text, size_t size);
/* The text with every `from` as `to`, malloc'd; NULL when there is none. */
char *normal_replace(const char *from, const char *to, const char *text, size_t size,
                     size_t *out_size);

/* --- pre-tokenizer ----------------------------------------------------------------- */

enum split_keep { /* what becomes of the matches */
                  SPLIT_ISOLATED,
                  SPLIT_REMOVED,
                  SPLIT_CONTIGUOUS,
                  SPLIT_WITH_PREVIOUS,
                  SPLIT_WITH_NEXT,
};

#define SPLIT_STEPS 16

enum split_prefix { PREFIX_NEVER, PREFIX_ALWAYS, PREFIX_FIRST };

/* Before it cuts, a step may write every space as something else, and put what stands for a space
 * in front of a text without one: of every text, or of the one that the input begins with. */
struct split {
    pcre2_code *code;  /* NULL: nothing is cut */
    pcre2_code *young; /* for texts with characters of tokenizer_unicode.h; NULL: the same */
    enum split_keep keep;
    bool invert;
    enum split_prefix prefix;
    char space[8]; /* "": spaces stay */
};

/* Compiles a pattern with the meaning that it has for Oniguruma; what would mean something else to
 * PCRE2 is refused. `place` is "file: component". literal: the pattern is a plain text. */
bool split_compile(struct split *s, const char *place, const char *pattern, bool literal,
                   struct err *e);

/* One run of all steps over texts: scratch memory and where the pieces go. */
struct splitter {
    const struct split *steps;
    int n_steps;
    bool (*piece)(void *context, const char *text, size_t size);
    void *context;
    struct err *e;
    pcre2_match_context *limits;
    pcre2_match_data *matches[SPLIT_STEPS];
    struct buffer *buffers; /* texts made on the way; they live until splitter_close */
    bool young;             /* the input has characters of tokenizer_unicode.h */
    const char *origin;     /* the text that the input begins with; NULL: another is at hand */
};
void split_free(struct split *s);
void splitter_open(struct splitter *s, size_t text_size);
void splitter_close(struct splitter *s);
/* Calls piece() for each piece of text in order; false when that or a match failed. */
bool splitter_run(struct splitter *s, const char *text, size_t size);
/* Memory with the life of the splitter. */
char *splitter_buffer(struct splitter *s, size_t size);

/* --- added tokens ------------------------------------------------------------------- */

struct added {
    char *text; /* owned; what is looked for: normalized if the flag says so */
    size_t size;
    int32_t id;
    bool single_word, left_strip, right_strip;
};

struct trie_node {
    int32_t child, sibling; /* 0 = none */
    int32_t added;          /* index, -1 = none ends here */
    unsigned char byte;
};

struct added_set {
    struct added *added;
    size_t count;
    struct trie_node *nodes; /* node 0 is the root */
    size_t n_nodes, room;
    int32_t first[256]; /* the root's children */
};
/* Takes ownership of token.text (not empty, at most 64 KiB). A text added before is replaced. */
void added_put(struct added_set *set, struct added token);
void added_free(struct added_set *set);

/* The next token at or behind *at in text: leftmost, then longest. false: none. `from` is the end
 * of the token before: strips do not reach behind it. On return [*start, *stop) is covered and *at
 * is where to go on. */
bool added_next(const struct added_set *set, const char *text, size_t size, size_t from, size_t *at,
                size_t *start, size_t *stop, int32_t *id);

/* --- decoder ------------------------------------------------------------------------- */

enum decode_kind { DECODE_REPLACE, DECODE_BYTES, DECODE_FUSE, DECODE_STRIP, DECODE_METASPACE };

struct decode_step {
    enum decode_kind kind;
    char *from, *to; /* owned; REPLACE: texts; STRIP, METASPACE: from is the character */
    int start, stop; /* STRIP: characters at most on either side; METASPACE: start = 1 drops those
                        of the first token */
};

#define DECODE_STEPS 8

/* Adds a step; from and to are copied. false when there are too many. A tokenizer without steps
 * decodes as ByteLevel does. */
bool decode_add(struct tokenizer *t, enum decode_kind kind, const char *from, const char *to,
                int start, int stop);
void decode_free(struct tokenizer *t);
/* Sets the text of every token (vocab_set_text), once vocabulary and steps are known. */
void decode_texts(struct tokenizer *t);

/* --- the whole ------------------------------------------------------------------------ */

struct tokenizer {
    char *name; /* of the file, for errors; owned */
    struct vocab vocab;
    struct bpe bpe;
    struct normal_step normal[NORMAL_STEPS];
    int n_normal;
    struct split steps[SPLIT_STEPS];
    int n_steps;
    struct added_set exact, normalized; /* looked for before and after the normalizer */
    struct id_list prefix, suffix;      /* the template around a text */
    struct decode_step decode[DECODE_STEPS];
    int n_decode; /* 0: ByteLevel */
};
