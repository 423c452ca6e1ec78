-- Schema 5: why answers are wrong (raas explain). Start at the view v_causes.

CREATE TABLE explain (
    -- Where a wrong answer first leaves the gold solution, and why: its ids were fed again, under
    -- the same policy, up to the query that told the first wrong token.
    id           INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE CHECK (length(key) = 64), -- hash of the answer's key, params
                                                                -- and how it was replayed
    run_id       INTEGER NOT NULL REFERENCES run (id),
    result_id    INTEGER NOT NULL REFERENCES result (id),
    params       TEXT NOT NULL CHECK (json_valid(params)), -- validated heads and their thresholds
    cause        TEXT NOT NULL CHECK (cause IN ('source_evicted', 'statement_evicted',
                                                'working_evicted', 'unread', 'arithmetic', 'cut')),
    step         INTEGER NOT NULL CHECK (typeof(step) = 'integer'), -- from 0
    part         TEXT NOT NULL CHECK (part IN ('nothing', 'label', 'statement', 'recall', 'compute',
                                               'result', 'answer')),
    source_step  INTEGER CHECK (typeof(source_step) IN ('integer', 'null')), -- whose value or
                                                 -- statement was needed; NULL: none, or the question
    gold         TEXT NOT NULL CHECK (typeof(gold) = 'text'), -- the step as it should be
    written      TEXT NOT NULL CHECK (typeof(written) = 'text'),
    kv_heads     INTEGER CHECK (typeof(kv_heads) IN ('integer', 'null')), -- that serve validated
                                                 -- heads; of the step's own working: all
    holders      INTEGER CHECK (typeof(holders) IN ('integer', 'null')), -- those that held it
    query        INTEGER CHECK (typeof(query) IN ('integer', 'null')), -- position that told it
    evicted_at   INTEGER CHECK (typeof(evicted_at) IN ('integer', 'null')), -- position of the query
                                                 -- by which the last of these had lost it
    evicted_step INTEGER CHECK (typeof(evicted_step) IN ('integer', 'null')), -- -1: in the prompt
    given        REAL CHECK (typeof(given) IN ('real', 'null')), -- attention to it, of the head
    theta        REAL CHECK (typeof(theta) IN ('real', 'null')), -- that came nearest to its theta
    agreement    REAL CHECK (typeof(agreement) IN ('real', 'null')), -- share of written ids that
                                                 -- the replay would have chosen; NULL: sampled
    full_right   INTEGER CHECK (full_right IN (0, 1)), -- the step under full attention, continued
                                                       -- greedily from what stands before it
    account      TEXT NOT NULL CHECK (typeof(account) = 'text') -- for people
);
CREATE INDEX explain_result ON explain (result_id);

CREATE VIEW v_explain AS
-- One row per wrong answer that was explained, by the newest explanation.
SELECT v.model, v.dataset, v.policy, v.budget, v.sample, v.position, v.repeat, x.cause, x.step,
       x.part, x.source_step, x.gold, x.written, x.kv_heads, x.holders, x.query, x.evicted_at,
       x.evicted_step, x.given, x.theta, x.agreement, x.full_right, x.params, x.account, v.cell_id,
       x.result_id, x.id AS explain_id
FROM explain AS x
JOIN result ON result.id = x.result_id
JOIN v_result AS v ON v.key = result.key
WHERE v.correct = 0 AND x.id = (SELECT max(id) FROM explain WHERE result_id = x.result_id);

CREATE VIEW v_causes AS
-- One row per cell of which an answer was explained, and cause; `share`: of all its answers.
WITH cause (cause) AS (
    VALUES ('source_evicted'), ('statement_evicted'), ('working_evicted'), ('unread'),
           ('arithmetic'), ('cut')
), explained AS (
    SELECT cell_id, cause, count(*) AS n, sum(full_right) AS full_right, sum(full_right IS NOT NULL)
           AS full_tried, min(agreement) AS agreement
    FROM v_explain GROUP BY cell_id, cause
)
SELECT v.model, v.dataset, v.policy, v.budget, cause.cause, ifnull(explained.n, 0) AS n,
       1.0 * ifnull(explained.n, 0) / v.n AS share, v.n - v.correct AS wrong, v.n AS answers,
       v.kv_tokens_peak, ifnull(explained.full_right, 0) AS full_right,
       ifnull(explained.full_tried, 0) AS full_tried, explained.agreement, v.cell_id
FROM v_accuracy AS v
JOIN cause
LEFT JOIN explained ON explained.cell_id = v.cell_id AND explained.cause = cause.cause
WHERE v.dataset LIKE 'lemmas%'
  AND (v.n = v.correct OR v.cell_id IN (SELECT cell_id FROM explained));

PRAGMA user_version = 5;
