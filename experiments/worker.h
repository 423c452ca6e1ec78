/* Workers: processes that decode the jobs of one workload, each with a session on a GPU of its own.
 * They send what they make over sockets; the process that started them alone opens the database.
 * They ignore the signals that stop a run (it tells them), and end with the process that started
 * them. */
#pragma once

#include "experiments/decoder.h"

enum { WORKERS_MAX = 64 };

struct workers;

/* Forks `n` workers, before this process has opened any session (a GPU does not survive a fork).
 * They open their sessions, number i on device i. NULL on error. */
struct workers *workers_start(const struct workload *workload, const struct decoder_params *params,
                              int n, struct err *e);
/* Waits until all sessions are open. The first error of a worker is the error of all, and so are
 * sessions that compute different bits. */
bool workers_ready(struct workers *workers, struct err *e);
const char *workers_isa(const struct workers *workers); /* of all sessions, once ready */

/* Deals out the jobs and hands over what the workers make, in the order of arrival. A worker that
 * dies or fails is warned of; the others do what it has not begun. false: the harvest failed, or no
 * worker is left (e says what happened to the last one). Once. */
bool workers_run(struct workers *workers, const struct job *jobs, int n_jobs,
                 const struct harvest *harvest, struct err *e);

/* Ends those that still run, without waiting for their answers. */
void workers_close(struct workers *workers);
