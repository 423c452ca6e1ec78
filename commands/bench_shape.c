#include "commands/bench_shape.h"

#include <limits.h>
#include <string.h>

#include "engine/model_path.h"
#include "engine/shape.h"

struct model *bench_model(const char *shape, struct err *e) {
    char path[PATH_MAX], known[200] = "embedded";
    if (!strcmp(shape, "embedded"))
        return model_default_path(path, sizeof path, e) ? model_open(path, e) : NULL;
    for (const char *const *name = shape_names; *name; name++) {
        if (!strcmp(shape, *name))
            return model_of_shape(shape, e);
        err_list(known, sizeof known, *name);
    }
    err_set(e, EXIT_USAGE, "--shape '%.80s': expected one of %s", shape, known);
    return NULL;
}

bool bench_measure_step(const struct bench_step *step, struct bench_reading *out,
                        struct bench_kernels *kernels, struct err *e) {
    struct plan plan;
    if (!policy_parse(step->policy, &plan, e))
        return false;
    struct model *model = bench_model(step->shape, e);
    if (!model)
        return false;
    struct bench_point point = {.backend = "cuda",
                                .model = model,
                                .plan = &plan,
                                .batch = step->batch,
                                .context = step->context,
                                .spread = step->spread,
                                .windows = step->windows};
    bool ok = bench_measure(&point, out, kernels, e);
    model_close(model);
    return ok;
}
