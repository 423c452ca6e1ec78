-- Schema 4: shadow runs, what given ids show when they are replayed under policies. Start at the
-- view v_shadow.

CREATE TABLE shadow_text (
    -- Ids that are fed: a prompt and what follows it.
    id            INTEGER PRIMARY KEY,
    sha256        TEXT NOT NULL UNIQUE CHECK (length(sha256) = 64), -- of all below, and the ids
    source        TEXT NOT NULL CHECK (source IN ('gold', 'answers', 'lines')),
    dataset       TEXT NOT NULL CHECK (typeof(dataset) = 'text'), -- of lines without one: the file
    sample        TEXT NOT NULL CHECK (typeof(sample) = 'text'),
    prompt_tokens INTEGER NOT NULL CHECK (typeof(prompt_tokens) = 'integer' AND prompt_tokens > 0),
    new_tokens    INTEGER NOT NULL CHECK (typeof(new_tokens) = 'integer' AND new_tokens > 0)
);

CREATE TABLE shadow_cell (
    -- Under what they are fed. `config` holds all that decides a replay, the text aside.
    id             INTEGER PRIMARY KEY,
    config_sha256  TEXT NOT NULL UNIQUE CHECK (length(config_sha256) = 64),
    config         TEXT NOT NULL CHECK (json_valid(config)),
    model_id       INTEGER NOT NULL REFERENCES model (id),
    policy         TEXT NOT NULL CHECK (typeof(policy) = 'text'), -- spelling without the budget
    policy_options TEXT NOT NULL CHECK (json_valid(policy_options)),
    policy_version INTEGER NOT NULL CHECK (typeof(policy_version) = 'integer'),
    budget         INTEGER CHECK (typeof(budget) IN ('integer', 'null') AND budget > 0), -- asked
    precision      TEXT NOT NULL CHECK (precision IN ('fp32', 'bf16')),
    backend        TEXT NOT NULL CHECK (backend IN ('cpu', 'cuda')),
    isa            TEXT NOT NULL CHECK (typeof(isa) = 'text')
);

CREATE TABLE shadow (
    -- One text under one policy, beside full attention on the same ids.
    id               INTEGER PRIMARY KEY,
    key              TEXT NOT NULL UNIQUE CHECK (length(key) = 64), -- hash of config and text
    run_id           INTEGER NOT NULL REFERENCES run (id),
    cell_id          INTEGER NOT NULL REFERENCES shadow_cell (id),
    text_id          INTEGER NOT NULL REFERENCES shadow_text (id),
    kl               REAL NOT NULL CHECK (typeof(kl) = 'real' AND kl >= 0), -- mean, in nats
    agreement        REAL NOT NULL CHECK (typeof(agreement) = 'real'), -- of the best id; share
    first_divergence INTEGER CHECK (typeof(first_divergence) IN ('integer', 'null')), -- NULL: none
    lost             REAL CHECK (typeof(lost) IN ('real', 'null')), -- of full's attention; NULL:
                                                                    -- the backend can't show it
    effective_budget INTEGER CHECK (typeof(effective_budget) IN ('integer', 'null')
                                    AND effective_budget > 0),
    kv_tokens_peak   INTEGER NOT NULL CHECK (typeof(kv_tokens_peak) = 'integer'),
    kv_bytes_peak    INTEGER NOT NULL CHECK (typeof(kv_bytes_peak) = 'integer'),
    evictions        INTEGER NOT NULL CHECK (typeof(evictions) = 'integer'),
    steps            TEXT NOT NULL CHECK (json_valid(steps)) -- the divergence after each id
);
CREATE UNIQUE INDEX shadow_of_cell ON shadow (cell_id, text_id);

CREATE TABLE shadow_head (
    -- Share of full's attention (mean over the group and over steps) that goes to tokens which the
    -- policy does not attend to.
    shadow_id INTEGER NOT NULL REFERENCES shadow (id),
    layer     INTEGER NOT NULL CHECK (typeof(layer) = 'integer'),
    kv_head   INTEGER NOT NULL CHECK (typeof(kv_head) = 'integer'),
    lost      REAL NOT NULL CHECK (typeof(lost) = 'real'),
    PRIMARY KEY (shadow_id, layer, kv_head)
) WITHOUT ROWID;

CREATE VIEW v_shadow_text AS
-- One row per text and policy, names joined in.
SELECT model.name AS model, text.source, text.dataset, text.sample, cell.policy, cell.budget,
       shadow.kl, shadow.agreement, shadow.first_divergence, shadow.lost, shadow.effective_budget,
       shadow.kv_tokens_peak, shadow.kv_bytes_peak, shadow.evictions, text.prompt_tokens,
       text.new_tokens, cell.precision, cell.backend, cell.isa, cell.policy_version, cell.model_id,
       shadow.id AS shadow_id, shadow.cell_id, shadow.text_id, shadow.run_id
FROM shadow
JOIN shadow_cell AS cell ON cell.id = shadow.cell_id
JOIN shadow_text AS text ON text.id = shadow.text_id
JOIN model ON model.id = cell.model_id;

CREATE VIEW v_shadow AS
-- One row per policy and kind of texts. lo and hi: mean -+ 1.96 standard errors over texts, not
-- below 0; NULL for one text. `divergence`: mean of the first id that differs, texts without one
-- counted with their length.
WITH mean AS (
    SELECT model, source, dataset, policy, budget, precision, backend, isa, cell_id, model_id,
           policy_version, count(*) AS n, avg(kl) AS kl, sum(new_tokens) AS tokens,
           sum(kl * kl) AS squares, avg(agreement) AS agreement,
           avg(ifnull(first_divergence, new_tokens)) AS divergence, avg(lost) AS lost,
           avg(effective_budget) AS mean_effective_budget, max(effective_budget) AS most_budget,
           avg(kv_tokens_peak) AS kv_tokens_peak, avg(kv_bytes_peak) AS kv_bytes_peak,
           avg(evictions) AS evictions
    FROM v_shadow_text GROUP BY cell_id, source, dataset
), spread AS (
    SELECT *, 1.959963984540054 * sqrt(max(0.0, squares / n - kl * kl) / (n - 1)) AS half FROM mean
)
SELECT model, source, dataset, policy, budget, mean_effective_budget, n, kl,
       max(0.0, kl - half) AS lo, kl + half AS hi, agreement, divergence, lost, tokens,
       kv_tokens_peak, kv_bytes_peak, evictions, most_budget, precision, backend, isa,
       policy_version, cell_id, model_id
FROM spread;

CREATE VIEW v_shadow_head AS
-- Attention lost, mean over texts.
SELECT model, source, dataset, policy, budget, precision, backend, isa, layer, kv_head,
       avg(head.lost) AS lost, count(*) AS n, cell_id
FROM v_shadow_text
JOIN shadow_head AS head USING (shadow_id)
GROUP BY cell_id, source, dataset, layer, kv_head;

CREATE VIEW v_shadow_step AS
-- The divergence after each id of each text: step 0 feeds the first generated id.
SELECT v.model, v.source, v.dataset, v.sample, v.policy, v.budget, step.key AS step,
       step.value AS kl, v.cell_id, v.text_id
FROM v_shadow_text AS v
JOIN shadow ON shadow.id = v.shadow_id
JOIN json_each(shadow.steps) AS step;

PRAGMA user_version = 4;
