#include "commands/bench_bytes.h"

enum { ELEMENT = 2, COLUMN = 4 }; /* bytes: bf16, float */

double bench_weights(const struct config *c) {
    double q = (double)c->n_heads * c->head_size, kv = (double)c->n_kv_heads * c->head_size;
    double layer = c->dim * (2 * q + 2 * kv) + 3.0 * c->dim * c->ffn;
    return c->n_layers * layer + (double)c->dim * c->vocab;
}

double bench_token_elements(const struct config *c) {
    return 2.0 * c->n_layers * c->n_kv_heads * c->head_size;
}

void bench_add_sequence(struct bench_bytes *bytes, const struct config *c, const struct plan *plan,
                        int32_t n_prompt, int32_t context) {
    const double layers = c->n_layers, token = ELEMENT * bench_token_elements(c);
    const double page_bounds = token; /* the lowest and the highest key: as much as one token */
    int32_t capacity = plan_capacity(plan, n_prompt, context);
    double resident = capacity < context ? capacity : context, attended = resident;
    double dense = plan->dense_layers < layers ? plan->dense_layers / layers : 1;
    bool selects =
        plan->select != UNIT_NONE && dense < 1 && plan_effective_budget(plan, n_prompt) < resident;
    if (selects)
        attended = plan_effective_budget(plan, n_prompt);
    bytes->kv += token * (dense * resident + (1 - dense) * attended);
    if (selects && plan->select == UNIT_TOKEN) /* every key is scored; a value only if chosen */
        bytes->beside += token / 2 * (1 - dense) * (resident - attended);
    if (signal_is_bound(plan->observe))
        bytes->beside += page_bounds * resident / PAGE;
    else if (selects && signal_is_bound(plan->by))
        bytes->beside += page_bounds * (1 - dense) * resident / PAGE;
    if (plan->evict == UNIT_TOKEN && plan->observe != SIGNAL_NONE) /* columns: read and written */
        bytes->beside += 2.0 * COLUMN * layers * c->n_kv_heads * resident;
}
