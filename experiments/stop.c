#include "experiments/stop.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/err.h"

static volatile sig_atomic_t requested;

static void on_signal(int number) {
    (void)number;
    if (requested)
        _exit(EXIT_SIGNAL); /* what is committed stays; the rest runs again */
    requested = 1;
}

void stop_install(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    requested = 0;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    struct sigaction old; /* a closed terminal stops a run too, unless nohup said otherwise */
    if (!sigaction(SIGHUP, NULL, &old) && old.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

bool stop_requested(void) { return requested != 0; }
