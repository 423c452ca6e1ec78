/* SIGINT, SIGTERM and SIGUSR1 ask the program to finish the step and commit; a second one ends it
 * at once with EXIT_SIGNAL. */
#pragma once

#include <stdbool.h>

void stop_install(void);
bool stop_requested(void);
