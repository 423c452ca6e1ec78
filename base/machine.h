/* What the machine under the program is. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Model name of the processor, "unknown" where the system doesn't say. */
void machine_cpu(char *out, size_t size);

int machine_cores(void); /* that this process may run on; at least 1 */
/* Threads asked for with --threads: that many, or with 0 one for each of these cores. */
int machine_threads(int64_t asked);

/* Bytes of memory in all, and that could be had now; 0 where the system doesn't say. */
uint64_t machine_memory(void);
uint64_t machine_free_memory(void);
