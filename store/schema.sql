-- Results of raas, schema 1 (later ones stand in schema_*.sql). Open a database with sqlite3, pandas,
-- datasette or R, and start at the views v_accuracy (one row per cell) and v_result (one row per
-- answer). Times are ISO 8601 in UTC, structured values are JSON, memory is in bytes, durations are
-- in seconds; each column has one type, checked. Comments stand inside the statements, where SQLite
-- keeps them for `.schema`.

CREATE TABLE model (
    -- What answered. Two models are the same only if name and hashes are.
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL CHECK (typeof(name) = 'text'),
    weights_sha256   TEXT NOT NULL CHECK (length(weights_sha256) = 64),
    tokenizer_sha256 TEXT NOT NULL CHECK (length(tokenizer_sha256) = 64),
    template_sha256  TEXT CHECK (length(template_sha256) = 64), -- NULL: no chat template
    config           TEXT CHECK (config IS NULL OR json_valid(config))
);
CREATE UNIQUE INDEX model_identity
    ON model (name, weights_sha256, tokenizer_sha256, ifnull(template_sha256, ''));

CREATE TABLE dataset (
    -- What was asked. `name` spells the options that differ from their defaults: lemmas:steps=16.
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL CHECK (typeof(name) = 'text'),
    options TEXT NOT NULL CHECK (json_valid(options)),
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    metric  TEXT NOT NULL CHECK (metric IN ('chain', 'box')), -- the verdict that counts
    UNIQUE (name, sha256)
);

CREATE TABLE sample (
    id         INTEGER PRIMARY KEY,
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    name       TEXT NOT NULL CHECK (typeof(name) = 'text'),
    position   INTEGER NOT NULL CHECK (typeof(position) = 'integer' AND position >= 0),
    prompt     TEXT NOT NULL CHECK (typeof(prompt) = 'text'), -- before any chat template
    gold       TEXT NOT NULL CHECK (typeof(gold) = 'text'),
    UNIQUE (dataset_id, name)
);

CREATE TABLE cell (
    -- One model x dataset x policy x budget x settings. `config` holds all that decides a result,
    -- sample and repeat aside; the columns repeat what one wants to select by.
    id             INTEGER PRIMARY KEY,
    model_id       INTEGER NOT NULL REFERENCES model (id),
    dataset_id     INTEGER NOT NULL REFERENCES dataset (id),
    policy         TEXT NOT NULL CHECK (typeof(policy) = 'text'), -- spelling without the budget
    policy_options TEXT NOT NULL CHECK (json_valid(policy_options)),
    policy_version INTEGER NOT NULL CHECK (typeof(policy_version) = 'integer'),
    budget         INTEGER CHECK (typeof(budget) IN ('integer', 'null') AND budget > 0), -- asked
    prompt_variant TEXT NOT NULL CHECK (typeof(prompt_variant) = 'text'),
    temperature    REAL NOT NULL CHECK (typeof(temperature) = 'real' AND temperature >= 0),
    top_p          REAL NOT NULL CHECK (typeof(top_p) = 'real' AND top_p > 0 AND top_p <= 1),
    seed           INTEGER NOT NULL CHECK (typeof(seed) = 'integer'),
    max_new        INTEGER NOT NULL CHECK (typeof(max_new) = 'integer' AND max_new > 0),
    precision      TEXT NOT NULL CHECK (precision IN ('fp32', 'bf16')),
    backend        TEXT NOT NULL CHECK (backend IN ('cpu', 'cuda')),
    isa            TEXT NOT NULL CHECK (typeof(isa) = 'text'),
    width          INTEGER CHECK (typeof(width) IN ('integer', 'null') AND width > 0),
    timing         TEXT NOT NULL CHECK (timing IN ('shared', 'isolated')),
    config         TEXT NOT NULL CHECK (json_valid(config)),
    config_sha256  TEXT NOT NULL UNIQUE CHECK (length(config_sha256) = 64)
);
CREATE INDEX cell_model ON cell (model_id, dataset_id);

CREATE TABLE machine (
    id           INTEGER PRIMARY KEY,
    cpu          TEXT NOT NULL CHECK (typeof(cpu) = 'text'),
    cores        INTEGER NOT NULL CHECK (typeof(cores) = 'integer'),
    memory_bytes INTEGER NOT NULL CHECK (typeof(memory_bytes) = 'integer'),
    system       TEXT NOT NULL CHECK (typeof(system) = 'text'),
    UNIQUE (cpu, cores, memory_bytes, system)
);

CREATE TABLE run (
    -- One invocation of the program. A run that was killed stays 'running'.
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL CHECK (typeof(name) = 'text'),
    status     TEXT NOT NULL CHECK (status IN ('running', 'finished', 'stopped', 'incomplete')),
    started    TEXT NOT NULL CHECK (started GLOB '????-??-??T??:??:??*Z'),
    finished   TEXT CHECK (finished GLOB '????-??-??T??:??:??*Z'),
    argv       TEXT NOT NULL CHECK (json_valid(argv)),
    experiment TEXT CHECK (experiment IS NULL OR json_valid(experiment)),
    git_commit TEXT NOT NULL CHECK (typeof(git_commit) = 'text'),
    dirty      INTEGER NOT NULL CHECK (dirty IN (0, 1)), -- 1: built from files not committed
    compiler   TEXT NOT NULL CHECK (typeof(compiler) = 'text'),
    libraries  TEXT NOT NULL CHECK (json_valid(libraries)),
    isa        TEXT NOT NULL CHECK (typeof(isa) = 'text'),
    threads    INTEGER NOT NULL CHECK (typeof(threads) = 'integer' AND threads > 0),
    machine_id INTEGER NOT NULL REFERENCES machine (id)
);
CREATE INDEX run_name ON run (name);

CREATE TABLE run_cell (
    -- The cells a run planned. Their rows may come from earlier runs that it resumed.
    run_id  INTEGER NOT NULL REFERENCES run (id),
    cell_id INTEGER NOT NULL REFERENCES cell (id),
    PRIMARY KEY (run_id, cell_id)
) WITHOUT ROWID;

CREATE TABLE result (
    -- One answer. `key` names it in any database: hash of the cell's config, sample and repeat.
    id               INTEGER PRIMARY KEY,
    key              TEXT NOT NULL UNIQUE CHECK (length(key) = 64),
    run_id           INTEGER NOT NULL REFERENCES run (id), -- the run that made it
    cell_id          INTEGER NOT NULL REFERENCES cell (id),
    sample_id        INTEGER NOT NULL REFERENCES sample (id),
    repeat           INTEGER NOT NULL CHECK (typeof(repeat) = 'integer' AND repeat >= 0),
    created          TEXT NOT NULL CHECK (created GLOB '????-??-??T??:??:??*Z'),
    finish           TEXT NOT NULL CHECK (finish IN ('answer', 'cap', 'numeric')),
    loop_period      INTEGER CHECK (typeof(loop_period) IN ('integer', 'null') AND loop_period > 0),
    correct_box      INTEGER NOT NULL CHECK (correct_box IN (0, 1)),
    correct_chain    INTEGER NOT NULL CHECK (correct_chain IN (0, 1)),
    correct_mv       INTEGER CHECK (correct_mv IN (0, 1)),
    path             TEXT NOT NULL CHECK (typeof(path) = 'text'), -- what found the answer
    extracted        TEXT NOT NULL CHECK (typeof(extracted) = 'text'),
    prompt_tokens    INTEGER NOT NULL CHECK (typeof(prompt_tokens) = 'integer'
                                             AND prompt_tokens > 0),
    new_tokens       INTEGER NOT NULL CHECK (typeof(new_tokens) = 'integer' AND new_tokens >= 0),
    effective_budget INTEGER CHECK (typeof(effective_budget) IN ('integer', 'null')
                                    AND effective_budget > 0),
    kv_tokens_peak   INTEGER NOT NULL CHECK (typeof(kv_tokens_peak) = 'integer'
                                             AND kv_tokens_peak >= 0), -- per layer and KV head
    kv_bytes_peak    INTEGER NOT NULL CHECK (typeof(kv_bytes_peak) = 'integer'
                                             AND kv_bytes_peak >= 0),
    evictions        INTEGER NOT NULL CHECK (typeof(evictions) = 'integer' AND evictions >= 0),
    prefill_seconds  REAL NOT NULL CHECK (typeof(prefill_seconds) = 'real'
                                          AND prefill_seconds >= 0),
    decode_seconds   REAL NOT NULL CHECK (typeof(decode_seconds) = 'real'
                                          AND decode_seconds >= 0),
    ids              TEXT CHECK (ids IS NULL OR json_valid(ids)), -- generated, end token excluded
    encoding         TEXT NOT NULL CHECK (encoding IN ('utf8', 'hex')), -- of `text`
    text             TEXT NOT NULL CHECK (typeof(text) = 'text'),
    UNIQUE (cell_id, sample_id, repeat)
);
CREATE INDEX result_sample ON result (sample_id);
CREATE INDEX result_run ON result (run_id);

CREATE VIEW v_result AS
-- One row per answer, names joined in. `correct` is the verdict of the dataset's metric; an answer
-- cut at the cap counts only in a box, one stopped by NaN or infinite logits never.
SELECT model.name AS model, dataset.name AS dataset, cell.policy, cell.budget,
       sample.name AS sample, sample.position, result.repeat,
       CASE WHEN result.finish = 'numeric' THEN 0
            WHEN result.finish = 'cap' OR dataset.metric = 'box' THEN result.correct_box
            ELSE result.correct_chain
       END AS correct,
       dataset.metric, sample.gold, result.extracted, result.path, result.finish,
       result.loop_period, result.prompt_tokens, result.new_tokens, result.effective_budget,
       result.kv_tokens_peak, result.kv_bytes_peak, result.evictions, cell.timing,
       result.prefill_seconds, result.decode_seconds, result.created, result.key,
       result.cell_id, result.sample_id, result.run_id, result.encoding, result.text
FROM result
JOIN cell ON cell.id = result.cell_id
JOIN model ON model.id = cell.model_id
JOIN dataset ON dataset.id = cell.dataset_id
JOIN sample ON sample.id = result.sample_id;

CREATE VIEW v_speed AS
-- Medians of isolated cells: time to the first token, per further token, of the whole answer.
WITH timed (cell_id, what, seconds) AS (
    SELECT cell_id, 'ttft', prefill_seconds FROM v_result WHERE timing = 'isolated'
    UNION ALL
    SELECT cell_id, 'tpot', decode_seconds / (new_tokens - 1) FROM v_result
    WHERE timing = 'isolated' AND new_tokens > 1
    UNION ALL
    SELECT cell_id, 'jct', prefill_seconds + decode_seconds FROM v_result WHERE timing = 'isolated'
), ranked AS (
    SELECT cell_id, what, seconds,
           row_number() OVER (PARTITION BY cell_id, what ORDER BY seconds) AS place,
           count(*) OVER (PARTITION BY cell_id, what) AS n
    FROM timed
), median AS (
    SELECT cell_id, what, avg(seconds) AS seconds
    FROM ranked WHERE place IN ((n + 1) / 2, (n + 2) / 2)
    GROUP BY cell_id, what
)
SELECT cell_id,
       max(CASE what WHEN 'ttft' THEN seconds END) AS ttft_seconds,
       max(CASE what WHEN 'tpot' THEN seconds END) AS tpot_seconds,
       max(CASE what WHEN 'jct' THEN seconds END) AS jct_seconds
FROM median GROUP BY cell_id;

CREATE VIEW v_accuracy AS
-- One row per cell. `budget` is NULL where none was asked (full). lo and hi are Wilson's 95 %
-- interval over samples: repeats of one sample are not independent and do not narrow it. Tokens and
-- bytes are means over samples of each sequence's own peak. n = correct + wrong + capped + numeric.
WITH score AS (
    SELECT cell_id, model, dataset, policy, budget, metric, timing,
           avg(effective_budget) AS mean_effective_budget,
           count(*) AS n, count(DISTINCT sample_id) AS samples, sum(correct) AS correct,
           avg(correct) AS p,
           avg(new_tokens) AS mean_tokens, avg(kv_tokens_peak) AS kv_tokens_peak,
           avg(kv_bytes_peak) AS kv_bytes_peak, avg(evictions) AS evictions,
           sum(finish = 'answer') - sum(finish = 'answer' AND correct) AS wrong,
           sum(finish = 'cap') - sum(finish = 'cap' AND correct) AS capped,
           sum(finish = 'numeric') AS numeric, sum(loop_period IS NOT NULL) AS loops
    FROM v_result GROUP BY cell_id
), wilson AS ( -- z = 1.959963984540054, z * z = 3.841458820694124
    SELECT cell_id, (p + 1.920729410347062 / samples) / (1 + 3.841458820694124 / samples) AS middle,
           1.959963984540054 * sqrt(p * (1 - p) / samples + 0.960364705173531 / samples / samples)
               / (1 + 3.841458820694124 / samples) AS half
    FROM score
)
SELECT score.model, score.dataset, score.policy, score.budget, score.mean_effective_budget,
       score.n, score.correct, score.p AS accuracy,
       max(0.0, wilson.middle - wilson.half) AS lo, min(1.0, wilson.middle + wilson.half) AS hi,
       score.metric, score.mean_tokens, score.kv_tokens_peak, score.kv_bytes_peak,
       score.samples, score.wrong, score.capped, score.numeric, score.loops, score.evictions,
       score.timing, v_speed.ttft_seconds, v_speed.tpot_seconds, v_speed.jct_seconds,
       cell.precision, cell.backend, cell.isa, cell.temperature, cell.top_p, cell.seed,
       cell.max_new, cell.width, cell.prompt_variant, score.cell_id
FROM score
JOIN wilson ON wilson.cell_id = score.cell_id
JOIN cell ON cell.id = score.cell_id
LEFT JOIN v_speed ON v_speed.cell_id = score.cell_id
ORDER BY score.model, score.dataset, score.policy, score.budget, score.cell_id;

PRAGMA application_id = 1382113619; -- "RaaS"
PRAGMA user_version = 1;
