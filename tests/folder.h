/* A scratch folder of a test: hostile files are written into it, and all of it is removed at the
 * end. And the folder that the test program itself lies in. */
#pragma once

#include <stddef.h>

/* As the program was called, without a slash at its end; ./raas of the same build lies there. */
const char *folder_of_program(void);

struct folder {
    char path[64];
};

void folder_make(struct folder *f);
void folder_remove(struct folder *f); /* with everything below */

/* The same as setup and teardown of one test: *state is the folder. */
int folder_setup(void **state);
int folder_teardown(void **state);

/* Path of a name in it, in one of a few rotating buffers. */
const char *folder_path(const struct folder *f, const char *name);
void folder_write(const struct folder *f, const char *name, const void *data, size_t size);
void folder_text(const struct folder *f, const char *name, const char *text);

/* Writes a safetensors file: header length, header, `data_bytes` bytes 0, 1, 2, ... */
void folder_tensors(const struct folder *f, const char *name, const char *header,
                    size_t data_bytes);
