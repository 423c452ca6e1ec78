#include "base/machine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The value behind "key...: " of the first such line in a file of /proc; "" if there is none. */
static void proc_value(const char *path, const char *key, char *out, size_t size) {
    char line[512];
    FILE *f = fopen(path, "re");
    *out = 0;
    while (f && !*out && fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) || !value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    if (f)
        fclose(f);
}

void machine_cpu(char *out, size_t size) {
    proc_value("/proc/cpuinfo", "model name", out, size);
    if (!*out)
        snprintf(out, size, "unknown");
}

int machine_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

int machine_threads(int64_t asked) { return asked ? (int)asked : machine_cores(); }

uint64_t machine_memory(void) {
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t machine_free_memory(void) {
    char text[64];
    uint64_t kib = 0;
    proc_value("/proc/meminfo", "MemAvailable", text, sizeof text);
    return sscanf(text, "%" SCNu64, &kib) == 1 ? kib << 10 : 0;
}
