#include "tests/folder.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const char *folder_of_program(void) {
    static char folder[200];
    const char *slash = strrchr(program_invocation_name, '/');
    int length = slash ? (int)(slash - program_invocation_name) : 1;
    assert_true(length < (int)sizeof folder);
    snprintf(folder, sizeof folder, "%.*s", length, slash ? program_invocation_name : ".");
    return folder;
}

void folder_make(struct folder *f) {
    snprintf(f->path, sizeof f->path, P_tmpdir "/raas-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *at) {
    (void)s, (void)flag, (void)at;
    return remove(path);
}

void folder_remove(struct folder *f) {
    assert_int_equal(nftw(f->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int folder_setup(void **state) {
    struct folder *f = malloc(sizeof *f);
    assert_non_null(f);
    folder_make(f);
    *state = f;
    return 0;
}

int folder_teardown(void **state) {
    folder_remove(*state);
    free(*state);
    return 0;
}

const char *folder_path(const struct folder *f, const char *name) {
    static char buffers[8][200];
    static unsigned next;
    char *out = buffers[next++ % 8];
    snprintf(out, sizeof buffers[0], "%s/%s", f->path, name);
    return out;
}

void folder_write(const struct folder *f, const char *name, const void *data, size_t size) {
    FILE *file = fopen(folder_path(f, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void folder_text(const struct folder *f, const char *name, const char *text) {
    folder_write(f, name, text, strlen(text));
}

void folder_tensors(const struct folder *f, const char *name, const char *header,
                    size_t data_bytes) {
    size_t length = strlen(header), size = 8 + length + data_bytes;
    uint8_t *image = malloc(size);
    assert_non_null(image);
    for (int i = 0; i < 8; i++)
        image[i] = (uint8_t)((uint64_t)length >> (8 * i));
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++)
        image[8 + length + i] = (uint8_t)i;
    folder_write(f, name, image, size);
    free(image);
}
