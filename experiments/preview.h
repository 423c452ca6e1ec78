/* A dry run: what would be decoded, what is stored already, and the memory it takes. */
#pragma once

#include "engine/session.h"
#include "experiments/workload.h"

/* To stdout, as a table or as one JSON object. The workload must have been planned. */
void preview_print(const struct workload *workload, const struct session_memory *memory, bool json);
