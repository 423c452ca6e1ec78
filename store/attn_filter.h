/* The filters of a chunk of HDF5, outside of the library, which would do them on one thread:
 * shuffle, deflate, Fletcher's checksum, in this order, as the library's own readers undo them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

size_t filter_room(size_t bytes); /* that filter_encode may need for a chunk */

/* A chunk of `bytes`, numbers of `item` bytes each; `scratch` [bytes]. Returns the size in out. */
size_t filter_encode(const char *chunk, size_t bytes, size_t item, char *scratch, char *out);

/* false where the checksum differs or `size` bytes are not those of a chunk. */
bool filter_decode(const char *data, size_t size, size_t bytes, size_t item, char *scratch,
                   char *chunk);
