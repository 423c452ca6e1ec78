/* A tiny random model written to a temporary folder: any shape a test wants, without golden files.
 * And what tests do with sessions: open them, force ids, collect logits and answers. */
#pragma once

#include "engine/model.h"
#include "engine/session.h"

struct tiny {
    int n_layers, dim, n_heads, n_kv_heads, head_size, ffn, vocab, max_positions;
    uint64_t seed;
    bool broken;  /* a NaN among the weights of the final norm */
    int poisoned; /* this id's embedding is NaN; an end token, which is never sampled where ends are
                     ignored. 0: none */
};
#define TINY_DEFAULT                                                                         \
    (struct tiny) {                                                                          \
        .n_layers = 2, .dim = 48, .n_heads = 4, .n_kv_heads = 2, .head_size = 32, .ffn = 64, \
        .vocab = 61, .max_positions = 9000, .seed = 1                                        \
    }

/* Opens a Llama-type model with weights drawn so that attention is far from uniform. Aborts the
 * test on failure. */
struct model *tiny_open(struct tiny shape);

/* Any model, golden ones too. Aborts the test on failure. */
struct model *tiny_must_open(const char *path);

/* n ids below the vocabulary, a function of the seed. */
void tiny_ids(const struct tiny *shape, uint64_t seed, int32_t *ids, int n);

/* The plan of a policy spelling; aborts the test if it does not parse. */
struct plan tiny_plan(const char *text);

/* A session over it, on the CPU, fp32 unless bf16 is asked; threads, width as given. */
struct session *tiny_session(const struct model *model, bool bf16, int threads, int width,
                             int max_total);

/* Any session over it. Aborts the test on failure. */
struct session *tiny_open_session(const struct model *model, struct session_params params);
struct session_params tiny_cuda(int width, int max_total); /* of the first GPU, running ahead */

/* Logits by position: a request's `user` beside on_logits = tape_record, which fails the test where
 * a position comes twice, never, or out of order. */
struct tape {
    float *logits; /* [n][vocab] */
    int vocab, n;  /* n: so far */
};
struct tape tape_new(const struct model *model, int n); /* free its logits */
void tape_record(void *user, int position, const float *logits);

/* n ids, the first n_prompt of them as prompt and the others forced; logits to the tape, if any,
 * from its start. */
struct request tiny_forced(const struct plan *plan, const int32_t *ids, int n_prompt, int n,
                           struct tape *tape);

/* Adds a request; fails the test, with the error's text, if it is refused or has to wait. */
void tiny_add(struct session *session, const struct request *request);

enum { TINY_ANSWER = 300 };
struct answer {
    int32_t ids[TINY_ANSWER];
    int n;
    enum finish finish;
    struct sequence_stats stats;
};
/* Requests to their ends, in order: number i joins at step i * stagger at the earliest, or as soon
 * as the session has room. Their `user` stays theirs. */
void tiny_answer(struct session *session, const struct request *requests, int n, int stagger,
                 struct answer *out);
