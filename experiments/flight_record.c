#include "experiments/flight_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *path_of(const char *folder, const struct workload *w, const struct job *job) {
    char hash[HASH_HEX], *path;
    const char *config = w->configs[job->cell];
    hash_bytes(config, strlen(config), hash);
    CHECK(asprintf(&path, "%s/%.8s/%s-r%d.h5", folder, hash, workload_sample(w, job)->problem.id,
                   job->repeat) > 0);
    return path;
}

bool flight_record_begin(struct recording *recording, const char *folder, const struct workload *w,
                         const struct job *job, struct flight_record *out, struct err *e) {
    const struct experiment *x = w->experiment;
    const struct experiment_cell *cell = &x->cells[job->cell];
    const struct sample *sample = workload_sample(w, job);
    out->path = path_of(folder, w, job);
    out->what = (struct recorded){
        .path = out->path,
        .dataset = x->datasets[cell->dataset].name,
        .dataset_sha256 = w->sets[cell->dataset].sha256,
        .problem = &sample->problem,
        .number = job->sample,
        .plan = &cell->plan,
        .prompt = &sample->prompt,
        .max_fed = (int32_t)((int64_t)sample->prompt.count + cell->max_new - 1),
        .precision = x->precision,
        .isa = w->isa,
        .seed = cell->seed,
        .repeat = job->repeat,
        .temperature = cell->temperature,
        .top_p = cell->top_p,
    };
    out->file = recording_begin(recording, &out->what, e);
    if (!out->file)
        flight_record_drop(out);
    return out->file;
}

void flight_record_end(struct flight_record *record, const int32_t *ids, int n,
                       enum finish finish) {
    if (record->file)
        recording_end(record->file, &record->what, ids, n ? n - 1 : 0, finish);
    record->file = NULL;
    flight_record_drop(record);
}

void flight_record_drop(struct flight_record *record) {
    if (record->file)
        recording_abandon(record->file);
    free(record->path);
    *record = (struct flight_record){0};
}
