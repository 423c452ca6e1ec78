/* Real models, where they are at hand: $RAAS_MODELS/NAME.gguf (../shared/models). What is absent
 * gives one printed line, and skips the test. */
#pragma once

#include "engine/model.h"

struct model *real_model(const char *name); /* model_close it */
