/* libFuzzer: any bytes as a safetensors file. Whatever is accepted must tile the file's data
 * exactly. */
#include <stdint.h>
#include <string.h>

#include "engine/weights.h"

static void check_accepted(const struct tensor_list *list, uint64_t data_from,
                           uint64_t file_bytes) {
    uint64_t at = data_from;
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *t = &list->items[i];
        CHECK(t->offset == at && t->bytes <= file_bytes - at);
        CHECK(t->rank >= 0 && t->rank <= 4 && t->type <= DTYPE_OTHER && t->type_name && t->name);
        uint64_t count = 1;
        for (int d = 0; d < t->rank; d++)
            count *= (uint64_t)t->shape[d];
        CHECK(t->type == DTYPE_OTHER || t->bytes == count * (t->type == DTYPE_F32 ? 4 : 2));
        at += t->bytes;
    }
    CHECK(at == file_bytes);
}

static void parse(const uint8_t *data, size_t size, uint64_t file_bytes) {
    struct err e = {0};
    struct tensor_list list;
    if (!safetensors_parse(data, size, file_bytes, "fuzz", &list, &e)) {
        CHECK(e.code == EXIT_CONTENT && strncmp(e.text, "fuzz", 4) == 0);
        CHECK(list.items == NULL && list.count == 0);
        return;
    }
    uint64_t header = 0;
    memcpy(&header, data, sizeof header);
    check_accepted(&list, sizeof header + header, file_bytes);
    tensor_list_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse(data, size, size);
    parse(data, size,
          (uint64_t)size +
              4096); /* as weights_open calls it: the header in memory, the data on disk */
    return 0;
}
