/* Which GPUs there are, without opening a session: for doctor and the benches. */
#pragma once

#include "base/err.h"

enum { CUDA_LEAST_CAPABILITY = 80 }; /* of a device, major * 10 + minor */

/* Devices that the driver shows. 0: e says in one line (EXIT_ENV) why none can be used: no CUDA in
 * this build, no driver or an older one, no device. */
int cuda_device_count(struct err *e);

/* One line on a device: name, memory, compute capability, driver. false: it cannot be used, and the
 * line says why. */
bool cuda_device_text(int device, char *out, size_t size);
