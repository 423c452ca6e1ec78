#include "commands/fetch_curl.h"

#ifndef RAAS_CURL

bool fetch_can(void) { return false; }
bool fetch_file(const char *url, const char *path, struct err *e) {
    return err_set(e, EXIT_ENV, "%s: cannot be fetched to %s: built without libcurl", url, path);
}

#else

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/file.h"

bool fetch_can(void) { return true; }

static CURLcode transfer(const char *url, FILE *file, char reason[CURL_ERROR_SIZE]) {
    CURL *curl = curl_easy_init();
    if (!curl)
        return CURLE_FAILED_INIT;
    *reason = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, file);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return code;
}

bool fetch_file(const char *url, const char *path, struct err *e) {
    char *part, reason[CURL_ERROR_SIZE];
    if (!file_folders(path, e))
        return false;
    CHECK(asprintf(&part, "%s.part", path) >= 0);
    FILE *file = fopen(part, "we");
    bool ok = file || err_errno(e, EXIT_ENV, "%s", part);
    CURLcode code = ok ? transfer(url, file, reason) : CURLE_OK;
    if (code != CURLE_OK)
        ok = err_set(e, EXIT_ENV, "%s: %s", url, *reason ? reason : curl_easy_strerror(code));
    if (file && fclose(file) && ok)
        ok = err_errno(e, EXIT_ENV, "%s", part);
    if (ok && rename(part, path))
        ok = err_errno(e, EXIT_ENV, "%s", path);
    if (!ok)
        unlink(part);
    free(part);
    return ok;
}

#endif
