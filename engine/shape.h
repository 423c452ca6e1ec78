/* Models that are only a shape: the sizes of published ones, for benchmarks without their files.
 * They have no weights (the CUDA backend draws random ones) and no tokenizer. */
#pragma once

#include "engine/model.h"

extern const char *const shape_names[]; /* ends with NULL */

/* A model with weights and tokenizer NULL, path "NAME (random weights)" and a hash of zeros; close
 * it with model_close. NULL (EXIT_USAGE) for an unknown name. */
struct model *model_of_shape(const char *name, struct err *e);
