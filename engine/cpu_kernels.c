#include "engine/cpu_kernels.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kernels/tables.h"

static bool runs_anywhere(void) { return true; }
static bool runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool runs_avx512(void) {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
static bool runs_avx512bf16(void) { return runs_avx512() && __builtin_cpu_supports("avx512bf16"); }

/* The kernel gives a process room for tiles when it asks, for all threads. */
static bool runs_amx(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl; of XCR0 */
    return runs_avx512bf16() && __builtin_cpu_supports("amx-tile") &&
           __builtin_cpu_supports("amx-bf16") &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* Slowest first: the last one that runs here is the default. */
static const struct {
    const struct cpu_kernels *table;
    bool (*supported)(void);
} known[] = {
    {&cpu_kernels_fp32, runs_anywhere}, {&cpu_kernels_avx2, runs_avx2},
    {&cpu_kernels_avx512, runs_avx512}, {&cpu_kernels_avx512bf16, runs_avx512bf16},
    {&cpu_kernels_amx, runs_amx},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static const struct cpu_kernels *usable[N_KNOWN + 1];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_usable(void) {
    __builtin_cpu_init();
    int n = 0;
    for (int i = 0; i < N_KNOWN; i++)
        if (known[i].supported())
            usable[n++] = known[i].table;
}

const struct cpu_kernels *const *cpu_kernels_all(void) {
    pthread_once(&once, find_usable);
    return usable;
}

const struct cpu_kernels *cpu_kernels_find(const char *isa, struct err *e) {
    const struct cpu_kernels *const *all = cpu_kernels_all(), *best = NULL;
    for (; *all; all++) {
        best = *all;
        if (isa && !strcmp(isa, best->isa))
            return best;
    }
    if (!isa)
        return best;
    for (int i = 0; i < N_KNOWN; i++)
        if (!strcmp(isa, known[i].table->isa)) {
            err_set(e, EXIT_ENV, "instruction set '%s': this machine lacks it; its best is '%s'",
                    isa, best->isa);
            return NULL;
        }
    err_set(e, EXIT_USAGE, "instruction set '%s': expected fp32, avx2, avx512, avx512bf16 or amx",
            isa);
    return NULL;
}
