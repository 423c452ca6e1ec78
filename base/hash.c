#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

static void to_hex(const unsigned char *digest, char out[HASH_HEX]) {
    for (int i = 0; i < 32; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[64] = 0;
}

void hash_bytes(const void *data, size_t size, char out[HASH_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    CHECK(EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) == 1);
    to_hex(digest, out);
}

bool hash_file(const char *path, char out[HASH_HEX], struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        return err_errno(e, absent ? EXIT_USAGE : EXIT_ENV, "%s", path);
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    static const size_t room = 1 << 18;
    char *buffer = must_alloc(room);
    ssize_t n;
    while ((n = read(fd, buffer, room)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            CHECK(EVP_DigestUpdate(context, buffer, (size_t)n) == 1);
    bool ok = n == 0 || err_errno(e, EXIT_ENV, "%s", path);
    unsigned char digest[EVP_MAX_MD_SIZE];
    CHECK(EVP_DigestFinal_ex(context, digest, NULL) == 1);
    to_hex(digest, out);
    free(buffer);
    EVP_MD_CTX_free(context);
    close(fd);
    return ok;
}
