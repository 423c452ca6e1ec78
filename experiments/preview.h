/* A dry run: what would be decoded, what is stored already, the memory it takes, and what its table
 * will be able to tell apart. */
#pragma once

#include "engine/session.h"
#include "experiments/workload.h"

/* To stdout, as a table or as one JSON object. The workload must have been planned. */
void preview_print(const struct workload *workload, const struct session_memory *memory, bool json);
