/* The user block of a file of attention: size and SHA-256 of all behind it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/attn_private.h"

static void spell(uint64_t bytes, const unsigned char digest[32], char out[ATTN_SEAL]) {
    memset(out, '\n', ATTN_SEAL);
    int n = snprintf(out, ATTN_SEAL, "raas attention %d\nbytes %" PRIu64 "\nsha256 ", ATTN_SCHEMA,
                     bytes);
    for (int i = 0; i < 32; i++)
        n += snprintf(out + n, ATTN_SEAL - (size_t)n, "%02x", digest[i]);
    out[n] = '\n';
}

/* SHA-256 from the file's position on; false with errno. */
static bool digest_rest(int fd, unsigned char digest[EVP_MAX_MD_SIZE], uint64_t *bytes) {
    static const size_t room = 1 << 18;
    char *buffer = must_alloc(room);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    ssize_t n;
    *bytes = 0;
    while ((n = read(fd, buffer, room)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) {
            CHECK(EVP_DigestUpdate(context, buffer, (size_t)n) == 1);
            *bytes += (uint64_t)n;
        }
    CHECK(EVP_DigestFinal_ex(context, digest, NULL) == 1);
    EVP_MD_CTX_free(context);
    free(buffer);
    return n == 0;
}

bool attn_seal(const char *path, uint64_t *bytes, struct err *e) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    char block[ATTN_SEAL];
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool ok =
        fd >= 0 && lseek(fd, ATTN_SEAL, SEEK_SET) == ATTN_SEAL && digest_rest(fd, digest, bytes);
    if (ok) {
        spell(*bytes, digest, block);
        *bytes += ATTN_SEAL;
        ok = pwrite(fd, block, ATTN_SEAL, 0) == ATTN_SEAL && fsync(fd) == 0;
    }
    if (!ok)
        err_errno(e, EXIT_ENV, "%s", path);
    if (fd >= 0 && close(fd) != 0 && ok)
        ok = err_errno(e, EXIT_ENV, "%s", path);
    return ok;
}

static bool compare(int fd, const char *path, struct err *e) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    char found[ATTN_SEAL], expected[ATTN_SEAL];
    uint64_t bytes, said = 0;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(e, EXIT_ENV, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EXIT_CONTENT, "%s: expected a regular file", path);
    ssize_t n = read(fd, found, ATTN_SEAL);
    if (n < 0)
        return err_errno(e, EXIT_ENV, "%s", path);
    if (n < ATTN_SEAL || memcmp(found, "raas attention ", 15) != 0)
        return err_set(e, EXIT_CONTENT, "%s: offset 0: expected a file of attention", path);
    found[ATTN_SEAL - 1] = 0;
    int schema;
    if (sscanf(found, "raas attention %d\nbytes %" SCNu64, &schema, &said) != 2)
        return err_set(e, EXIT_CONTENT, "%s: offset 15: expected schema and size", path);
    if (schema != ATTN_SCHEMA)
        return err_set(e, EXIT_CONTENT, "%s: offset 15: schema %d, this program reads %d", path,
                       schema, ATTN_SCHEMA);
    if ((uint64_t)st.st_size != said + ATTN_SEAL)
        return err_set(e, EXIT_CONTENT,
                       "%s: %jd bytes, expected %" PRIu64 ": it was cut or added to", path,
                       (intmax_t)st.st_size, said + ATTN_SEAL);
    if (!digest_rest(fd, digest, &bytes))
        return err_errno(e, EXIT_ENV, "%s", path);
    spell(bytes, digest, expected);
    found[ATTN_SEAL - 1] = '\n';
    if (pread(fd, found, ATTN_SEAL, 0) != ATTN_SEAL || memcmp(found, expected, ATTN_SEAL) != 0)
        return err_set(e, EXIT_CONTENT, "%s: changed: its bytes are not those of its SHA-256",
                       path);
    return true;
}

/* The seal, or where that is damaged the file behind it. */
bool attn_is(const char *path) {
    static const char hdf5[8] = "\x89HDF\r\n\x1a\n", seal[] = "raas attention";
    char start[sizeof seal - 1], behind[sizeof hdf5] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool sealed = fd >= 0 && pread(fd, start, sizeof start, 0) == sizeof start &&
                  !memcmp(start, seal, sizeof start);
    bool is = sealed || (fd >= 0 && pread(fd, behind, sizeof behind, ATTN_SEAL) > 0 &&
                         !memcmp(behind, hdf5, sizeof hdf5));
    if (fd >= 0)
        close(fd);
    return is;
}

bool attn_check_seal(const char *path, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        return err_errno(e, absent ? EXIT_USAGE : EXIT_ENV, "%s", path);
    }
    bool ok = compare(fd, path, e);
    close(fd);
    return ok;
}
