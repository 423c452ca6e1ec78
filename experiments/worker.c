#include "experiments/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { POLL_MS = 100 };

/* What both sides see. */
struct shared {
    atomic_int next; /* of the job queue */
    atomic_bool stop;
};

/* A message: this, then `size` bytes. Both sides are one program, so structs go as they are. */
enum message_kind {
    MESSAGE_READY,  /* isa, ended by 0 */
    MESSAGE_TOKENS, /* n_tokens since the last one */
    MESSAGE_ANSWER, /* job, finish, stats; ids follow */
    MESSAGE_UNFIT,  /* job; the reason follows */
    MESSAGE_FAILED, /* struct err follows; the last */
    MESSAGE_DONE,   /* the last */
};
struct message {
    enum message_kind kind;
    int job, n_tokens;
    enum finish finish;
    struct sequence_stats stats;
    size_t size;
};

struct worker {
    pid_t pid;
    int socket; /* -1: it has ended */
};

struct workers {
    int n, n_running;
    int n_done; /* ended in peace */
    struct worker items[WORKERS_MAX];
    struct shared *shared;
    char isa[64];
    char *body; /* of the message under way, [room] */
    size_t room;
};

/* --- sockets -------------------------------------------------------------------------------- */

static bool put(int socket, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t n = send(socket, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n, size -= (size_t)n;
    }
    return true;
}

static bool get(int socket, void *data, size_t size) {
    for (char *at = data; size;) {
        ssize_t n = recv(socket, at, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n, size -= (size_t)n;
    }
    return true;
}

/* --- the worker's side ---------------------------------------------------------------------- */

struct work {
    struct shared *shared;
    int socket, n_tokens;
    double told; /* clock at the last message of tokens */
    struct job *jobs;
    int n_jobs;
};

/* Without its reader a worker has nothing left to do. */
static void tell(const struct work *w, struct message message, const void *body) {
    if (!put(w->socket, &message, sizeof message) || !put(w->socket, body, message.size))
        _exit(EXIT_ENV);
}

static void tell_tokens(struct work *w) {
    tell(w, (struct message){.kind = MESSAGE_TOKENS, .n_tokens = w->n_tokens}, NULL);
    w->n_tokens = 0;
    w->told = clock_seconds();
}

static bool send_answer(void *context, const struct job *job, const struct answer *a,
                        struct err *e) {
    struct work *w = context;
    (void)e;
    tell(w,
         (struct message){.kind = MESSAGE_ANSWER,
                          .job = (int)(job - w->jobs),
                          .finish = a->finish,
                          .stats = a->stats,
                          .size = (size_t)a->n_ids * sizeof *a->ids},
         a->ids);
    return true;
}

static void send_unfit(void *context, const struct job *job, const char *why) {
    struct work *w = context;
    tell(w,
         (struct message){
             .kind = MESSAGE_UNFIT, .job = (int)(job - w->jobs), .size = strlen(why) + 1},
         why);
}

static bool count_step(void *context, int tokens, struct err *e) {
    struct work *w = context;
    (void)e;
    w->n_tokens += tokens;
    if (clock_seconds() - w->told > POLL_MS * 1e-3)
        tell_tokens(w);
    return true;
}

static bool is_stopped(void *context) {
    return atomic_load(&((struct work *)context)->shared->stop);
}

static bool get_jobs(struct work *w) {
    if (!get(w->socket, &w->n_jobs, sizeof w->n_jobs))
        return false;
    size_t bytes = (size_t)w->n_jobs * sizeof *w->jobs;
    w->jobs = must_alloc(bytes + 1);
    return get(w->socket, w->jobs, bytes);
}

static bool work(struct work *w, struct decoder *d, struct err *e) {
    const struct harvest harvest = {w, send_answer, send_unfit, count_step, is_stopped};
    const char *isa = session_isa(decoder_session(d));
    tell(w, (struct message){.kind = MESSAGE_READY, .size = strlen(isa) + 1}, isa);
    if (!get_jobs(w))
        _exit(EXIT_ENV);
    struct job_queue queue = {w->jobs, w->n_jobs, &w->shared->next};
    if (!decoder_run(d, &queue, &harvest, e))
        return false;
    tell_tokens(w);
    return true;
}

/* The life of a worker. What the parent has open (stdio, its memory) is left as it is. */
static void worker_main(const struct workload *workload, struct decoder_params params,
                        struct work w, pid_t parent) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    struct err e = {0};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before that */
        _exit(EXIT_ENV);
    struct decoder *d = decoder_open(workload, &params, &e);
    bool ok = d && work(&w, d, &e);
    tell(&w,
         (struct message){.kind = ok ? MESSAGE_DONE : MESSAGE_FAILED, .size = ok ? 0 : sizeof e},
         &e);
    _exit(e.code);
}

/* --- the parent's side ---------------------------------------------------------------------- */

static bool start(struct workers *w, int index, const struct workload *workload,
                  struct decoder_params params, struct err *e) {
    int ends[2];
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return err_errno(e, EXIT_ENV, "worker %d: no socket", index);
    params.device = index;
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < index; i++)
            close(w->items[i].socket);
        close(ends[0]);
        worker_main(workload, params, (struct work){.shared = w->shared, .socket = ends[1]},
                    parent);
    }
    close(ends[1]);
    w->items[index] = (struct worker){.pid = pid, .socket = ends[0]};
    if (pid > 0) {
        w->n++, w->n_running++;
        return true;
    }
    close(ends[0]);
    return err_errno(e, EXIT_ENV, "worker %d: no process", index);
}

struct workers *workers_start(const struct workload *workload, const struct decoder_params *params,
                              int n, struct err *e) {
    CHECK(n >= 1 && n <= WORKERS_MAX);
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        err_errno(e, EXIT_ENV, "workers: no memory to share");
        return NULL;
    }
    struct workers *w = must_zalloc(1, sizeof *w);
    w->shared = shared;
    fflush(NULL); /* or the children would write it too */
    for (int i = 0; i < n; i++)
        if (!start(w, i, workload, *params, e)) {
            workers_close(w);
            return NULL;
        }
    return w;
}

/* The worker has ended, or is being ended: how. */
static void reap(struct workers *w, int index, char *how, size_t size) {
    struct worker *worker = &w->items[index];
    int status = 0;
    close(worker->socket);
    worker->socket = -1;
    w->n_running--;
    while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        snprintf(how, size, "worker %d was killed by signal %d", index, WTERMSIG(status));
    else
        snprintf(how, size, "worker %d ended with exit code %d", index, WEXITSTATUS(status));
}

void workers_close(struct workers *w) {
    if (!w)
        return;
    for (int i = 0; i < w->n; i++)
        if (w->items[i].socket >= 0) {
            char how[80];
            kill(w->items[i].pid, SIGKILL);
            reap(w, i, how, sizeof how);
        }
    munmap(w->shared, sizeof *w->shared);
    free(w->body);
    free(w);
}

/* The next message of a worker. false: there is none, it has ended, and e says how. */
static bool receive(struct workers *w, int index, struct message *m, struct err *e) {
    int socket = w->items[index].socket;
    char how[80];
    if (get(socket, m, sizeof *m)) {
        if (m->size > w->room)
            w->body = must_realloc(w->body, w->room = m->size);
        if (get(socket, w->body, m->size)) {
            if (m->kind != MESSAGE_FAILED && m->kind != MESSAGE_DONE)
                return true;
            reap(w, index, how, sizeof how);
            w->n_done += m->kind == MESSAGE_DONE;
            if (m->kind == MESSAGE_DONE)
                return true;
            const struct err *said = (const struct err *)(const void *)w->body;
            return err_set(e, said->code, "worker %d: %s", index, said->text);
        }
    }
    reap(w, index, how, sizeof how);
    return err_set(e, EXIT_ENV, "%s", how);
}

bool workers_ready(struct workers *w, struct err *e) {
    for (int i = 0; i < w->n; i++) {
        struct message m;
        if (!receive(w, i, &m, e))
            return false;
        CHECK(m.kind == MESSAGE_READY);
        if (i == 0)
            snprintf(w->isa, sizeof w->isa, "%s", w->body);
        else if (strcmp(w->isa, w->body) != 0)
            return err_set(e, EXIT_ENV,
                           "worker %d computes on %s, worker 0 on %s: their answers would not be "
                           "the same bits",
                           i, w->body, w->isa);
    }
    return true;
}

const char *workers_isa(const struct workers *w) { return w->isa; }

static bool take(struct workers *w, const struct message *m, const struct job *jobs,
                 const struct harvest *h, struct err *e) {
    struct answer answer = {.ids = (const int32_t *)(const void *)w->body,
                            .n_ids = (int)(m->size / sizeof(int32_t)),
                            .finish = m->finish,
                            .stats = m->stats};
    if (m->kind == MESSAGE_ANSWER)
        return h->answer(h->context, &jobs[m->job], &answer, e);
    if (m->kind == MESSAGE_UNFIT)
        h->unfit(h->context, &jobs[m->job], w->body);
    return true;
}

/* Everything that has arrived; a tick of the harvest in any case. */
static bool gather(struct workers *w, const struct job *jobs, const struct harvest *h,
                   struct err *last, struct err *e) {
    struct pollfd polls[WORKERS_MAX];
    int tokens = 0;
    for (int i = 0; i < w->n; i++) /* one that has ended has -1, which poll passes over */
        polls[i] = (struct pollfd){.fd = w->items[i].socket, .events = POLLIN};
    if (poll(polls, (nfds_t)w->n, POLL_MS) > 0)
        for (int i = 0; i < w->n; i++) {
            struct message m;
            struct err ended = {0};
            if (w->items[i].socket < 0 || !polls[i].revents)
                continue;
            if (receive(w, i, &m, &ended)) {
                tokens += m.kind == MESSAGE_TOKENS ? m.n_tokens : 0;
                if (!take(w, &m, jobs, h, e))
                    return false;
            } else {
                log_warn("%s; what it had begun is left for another run", ended.text);
                *last = ended;
            }
        }
    return h->step(h->context, tokens, e);
}

bool workers_run(struct workers *w, const struct job *jobs, int n_jobs, const struct harvest *h,
                 struct err *e) {
    struct err last = {0};
    for (int i = 0; i < w->n; i++) /* one that is gone is found out below */
        (void)(put(w->items[i].socket, &n_jobs, sizeof n_jobs) &&
               put(w->items[i].socket, jobs, (size_t)n_jobs * sizeof *jobs));
    while (w->n_running) {
        if (h->stopped(h->context))
            atomic_store(&w->shared->stop, true);
        if (!gather(w, jobs, h, &last, e))
            return false;
    }
    return w->n_done || err_set(e, last.code, "no worker is left: %s", last.text);
}
