#include "tests/real.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct model *real_model(const char *name) {
    const char *folder = getenv("RAAS_MODELS");
    char path[4200];
    snprintf(path, sizeof path, "%s/%s.gguf", folder && *folder ? folder : "../shared/models",
             name);
    if (access(path, R_OK) != 0) {
        printf("skipped: no %s\n", path);
        skip();
    }
    struct err e = {0};
    struct model *model = model_open(path, &e);
    if (!model)
        fail_msg("%s", e.text);
    return model;
}
