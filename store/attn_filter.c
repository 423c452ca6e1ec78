#include "store/attn_filter.h"

#include <string.h>
#include <zlib.h>

#include "base/err.h"

enum { LEVEL = 1, CHECK_BYTES = 4 };

/* Attention has runs (zeros, NaN, exponents) and little else that repeats: Z_RLE looks for those
 * alone, which is faster than level 1 by a third, and smaller by some percent. The lower byte of a
 * half is noise but for runs: it is stored as it is, which every reader of deflate knows. */
static const int strategy = Z_RLE;
enum { RUN = 64 }; /* the shortest run that ends what is stored */

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

/* Each change between stored and compressed takes a few bytes, and a run pays for two. */
size_t filter_room(size_t bytes) { return compressBound(bytes) + bytes / 4 + 64 + CHECK_BYTES; }

/* The next run of at least RUN bytes from `from` on, as [*start, *end); both `size` where there is
 * none. Any such run covers a whole half of RUN at a multiple of that. */
static void next_run(const char *data, size_t from, size_t size, size_t *start, size_t *end) {
    enum { HALF = RUN / 2 };
    *start = *end = size;
    for (size_t at = (from + HALF - 1) / HALF * HALF; at + HALF <= size; at += HALF) {
        if (memcmp(data + at, data + at + 1, HALF - 1) != 0)
            continue;
        size_t first = at, last = at + HALF;
        while (first > from && data[first - 1] == data[at])
            first--;
        while (last < size && data[last] == data[at])
            last++;
        if (last - first >= RUN) {
            *start = first, *end = last;
            return;
        }
    }
}

static void put(z_stream *z, int level, const char *data, size_t size) {
    CHECK(deflateParams(z, level, strategy) == Z_OK);
    z->next_in = (Bytef *)data, z->avail_in = (uInt)size;
    CHECK(deflate(z, Z_NO_FLUSH) == Z_OK && !z->avail_in);
}

/* Lower bytes: runs are compressed, the noise between them is not. */
static void put_noise(z_stream *z, const char *data, size_t size) {
    for (size_t from = 0, start, end; from < size; from = end) {
        next_run(data, from, size, &start, &end);
        if (start > from)
            put(z, 0, data + from, start - from);
        if (end > start)
            put(z, LEVEL, data + start, end - start);
    }
}

size_t filter_encode(const char *chunk, size_t bytes, size_t item, char *scratch, char *out) {
    z_stream z = {0};
    size_t noise = item == 2 ? bytes / 2 : 0; /* the lower bytes of halves come first */
    shuffle(chunk, bytes, item, scratch);
    CHECK(deflateInit2(&z, LEVEL, Z_DEFLATED, 15, 9, strategy) == Z_OK);
    z.next_out = (Bytef *)out, z.avail_out = (uInt)(filter_room(bytes) - CHECK_BYTES);
    put_noise(&z, scratch, noise);
    put(&z, LEVEL, scratch + noise, bytes - noise);
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
