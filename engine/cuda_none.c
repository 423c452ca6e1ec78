/* What stands for the CUDA backend in a build without CUDA: it only explains. */
#include <stdio.h>

#include "engine/backend.h"
#include "engine/cuda_info.h"

static void *none_open(const struct model *model, const struct session_params *params,
                       struct err *e) {
    (void)model, (void)params;
    err_set(e, EXIT_ENV,
            "this raas was built without CUDA: build with nvcc present (make CUDA=1), or use "
            "--backend cpu");
    return NULL;
}

const struct backend cuda_backend = {.name = "cuda", .max_width = SESSION_WIDTH, .open = none_open};

int cuda_device_count(struct err *e) {
    err_set(e, EXIT_ENV, "built without CUDA");
    return 0;
}

bool cuda_device_text(int device, char *out, size_t size) {
    (void)device;
    snprintf(out, size, "built without CUDA");
    return false;
}
