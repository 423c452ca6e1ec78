-- Schema 3: what a sweep of several databases needs (plans, seals), and outcomes and costs of answers.

CREATE TABLE run_plan (
    -- How many answers a run planned for a cell, over all shards: what its table is complete with.
    run_id  INTEGER NOT NULL REFERENCES run (id),
    cell_id INTEGER NOT NULL REFERENCES cell (id),
    answers INTEGER NOT NULL CHECK (typeof(answers) = 'integer' AND answers > 0),
    PRIMARY KEY (run_id, cell_id)
) WITHOUT ROWID;

CREATE TABLE seal (
    -- SHA-256 of all that an answer says (times and provenance aside), taken when it was stored or
    -- graded: an answer that was altered since doesn't match. Rows of older schemas have none.
    result_id INTEGER PRIMARY KEY REFERENCES result (id),
    sha256    TEXT NOT NULL CHECK (length(sha256) = 64)
);

CREATE VIEW v_plan AS
-- One row per run and planned cell: answers planned and stored (by whichever run).
SELECT run_plan.run_id, run_plan.cell_id, run_plan.answers AS planned,
       min(run_plan.answers,
           (SELECT count(*) FROM result WHERE result.cell_id = run_plan.cell_id)) AS stored
FROM run_plan;

CREATE VIEW v_answer AS
-- v_result with one outcome for each answer, the first that holds: right; numeric (NaN or infinite
-- logits); looped (ended in a loop); truncated (cut at max_new); unboxed (ended without an answer
-- where one is looked for: no box, or for metric chain no box, #### or phrase either); wrong.
SELECT CASE WHEN correct THEN 'right'
            WHEN finish = 'numeric' THEN 'numeric'
            WHEN loop_period IS NOT NULL THEN 'looped'
            WHEN finish = 'cap' THEN 'truncated'
            WHEN path IN ('none', 'last_number') OR (metric = 'box' AND path <> 'box') THEN 'unboxed'
            ELSE 'wrong'
       END AS outcome, v_result.*
FROM v_result;

CREATE VIEW v_outcome AS
-- One row per cell. n is the sum of the six; costs are all that the cell's answers took over the
-- number of right ones, NULL without any: decoded tokens, peak KV bytes, and seconds of isolated
-- cells alone.
SELECT cell_id, count(*) AS n, sum(outcome = 'right') AS correct, sum(outcome = 'wrong') AS wrong,
       sum(outcome = 'looped') AS looped, sum(outcome = 'truncated') AS truncated,
       sum(outcome = 'unboxed') AS unboxed, sum(outcome = 'numeric') AS numeric,
       1.0 * sum(new_tokens) / nullif(sum(correct), 0) AS tokens_per_right,
       1.0 * sum(kv_bytes_peak) / nullif(sum(correct), 0) AS kv_bytes_per_right,
       CASE timing WHEN 'isolated' THEN
           sum(prefill_seconds + decode_seconds) / nullif(sum(correct), 0)
       END AS seconds_per_right
FROM v_answer GROUP BY cell_id;

PRAGMA user_version = 3;
