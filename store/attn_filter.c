#include "store/attn_filter.h"

#include <string.h>
#include <zlib.h>

#include "base/err.h"

enum { LEVEL = 1, CHECK_BYTES = 4 };

/* Attention has runs (zeros, NaN, exponents) and little else that repeats: Z_RLE looks for those
 * alone, which is faster than level 1 by a third, and smaller by some percent. */
static const int strategy = Z_RLE;

static void shuffle(const char *from, size_t bytes, size_t item, char *to) {
    size_t n = bytes / item;
    for (size_t b = 0; b < item; b++)
        for (size_t i = 0; i < n; i++)
            to[b * n + i] = from[i * item + b];
}

static void unshuffle(const char *from, size_t bytes, size_t item, char *to) {
    size_t n = bytes / item;
    for (size_t b = 0; b < item; b++)
        for (size_t i = 0; i < n; i++)
            to[i * item + b] = from[b * n + i];
}

/* As H5_checksum_fletcher32: 16-bit words, the first byte the high one. */
static uint32_t fletcher32(const unsigned char *data, size_t size) {
    enum { FOLD = 360 }; /* words that sum without overflow */
    uint32_t one = 0, two = 0;
    for (size_t words = size / 2; words;) {
        size_t n = words < FOLD ? words : FOLD;
        words -= n;
        for (; n; n--, data += 2) {
            one += (uint32_t)data[0] << 8 | data[1];
            two += one;
        }
        one = (one & 0xffff) + (one >> 16);
        two = (two & 0xffff) + (two >> 16);
    }
    if (size % 2) {
        one += (uint32_t)*data << 8;
        two += one;
        one = (one & 0xffff) + (one >> 16);
        two = (two & 0xffff) + (two >> 16);
    }
    one = (one & 0xffff) + (one >> 16);
    two = (two & 0xffff) + (two >> 16);
    return two << 16 | one;
}

size_t filter_room(size_t bytes) { return compressBound(bytes) + 64 + CHECK_BYTES; }

size_t filter_encode(const char *chunk, size_t bytes, size_t item, char *scratch, char *out) {
    z_stream z = {0};
    shuffle(chunk, bytes, item, scratch);
    CHECK(deflateInit2(&z, LEVEL, Z_DEFLATED, 15, 9, strategy) == Z_OK);
    z.next_in = (Bytef *)scratch, z.avail_in = (uInt)bytes;
    z.next_out = (Bytef *)out, z.avail_out = (uInt)(filter_room(bytes) - CHECK_BYTES);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t size = z.total_out;
    deflateEnd(&z);
    uint32_t sum = fletcher32((const unsigned char *)out, size);
    for (int i = 0; i < CHECK_BYTES; i++)
        out[size + (size_t)i] = (char)(sum >> 8 * i & 0xff);
    return size + CHECK_BYTES;
}

bool filter_decode(const char *data, size_t size, size_t bytes, size_t item, char *scratch,
                   char *chunk) {
    if (size < CHECK_BYTES)
        return false;
    size -= CHECK_BYTES;
    uint32_t sum = fletcher32((const unsigned char *)data, size);
    for (int i = 0; i < CHECK_BYTES; i++)
        if (data[size + (size_t)i] != (char)(sum >> 8 * i & 0xff))
            return false;
    uLongf got = bytes;
    if (uncompress((Bytef *)scratch, &got, (const Bytef *)data, size) != Z_OK || got != bytes)
        return false;
    unshuffle(scratch, bytes, item, chunk);
    return true;
}
