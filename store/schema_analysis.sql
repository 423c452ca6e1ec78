-- Schema 2: what was mined from attention. Curves are named in analysis/portrait.h.

CREATE TABLE analysis (
    -- One pass of the miner over fresh decodes of a model, or one proof on gold labels.
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('lifecycle', 'proof')),
    run_id     INTEGER NOT NULL REFERENCES run (id),
    model_id   INTEGER NOT NULL REFERENCES model (id),
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    policy     TEXT NOT NULL CHECK (typeof(policy) = 'text'), -- budget included
    solution   TEXT NOT NULL CHECK (solution IN ('free', 'gold')), -- gold: teacher-forced
    sequences  INTEGER NOT NULL CHECK (typeof(sequences) = 'integer'),
    params     TEXT NOT NULL CHECK (json_valid(params)), -- thresholds
    summary    TEXT CHECK (summary IS NULL OR json_valid(summary)) -- of a proof: all that it found
);
CREATE INDEX analysis_run ON analysis (run_id);

CREATE TABLE analysis_head (
    analysis_id INTEGER NOT NULL REFERENCES analysis (id),
    layer       INTEGER NOT NULL CHECK (typeof(layer) = 'integer'),
    head        INTEGER NOT NULL CHECK (typeof(head) = 'integer'), -- q head
    class       TEXT NOT NULL CHECK (class IN ('streaming', 'waterfall', 'retrieval', 'diffuse')),
    agree       REAL CHECK (typeof(agree) IN ('real', 'null')), -- share of sequences
    PRIMARY KEY (analysis_id, layer, head)
) WITHOUT ROWID;

CREATE TABLE analysis_point (
    -- Mean over sequences and its 95 % interval. Layer and head NULL: mean over all heads.
    id          INTEGER PRIMARY KEY,
    analysis_id INTEGER NOT NULL REFERENCES analysis (id),
    layer       INTEGER CHECK (typeof(layer) IN ('integer', 'null')),
    head        INTEGER CHECK (typeof(head) IN ('integer', 'null')),
    curve       TEXT NOT NULL CHECK (typeof(curve) = 'text'),
    x           REAL CHECK (typeof(x) IN ('real', 'null')), -- NULL: the curve is one number
    mean        REAL NOT NULL CHECK (typeof(mean) = 'real'),
    lo          REAL CHECK (typeof(lo) IN ('real', 'null')), -- NULL: of one sequence
    hi          REAL CHECK (typeof(hi) IN ('real', 'null')),
    n           INTEGER NOT NULL CHECK (typeof(n) = 'integer' AND n > 0) -- sequences that say it
);
CREATE INDEX analysis_point_curve ON analysis_point (analysis_id, curve);

CREATE VIEW v_analysis AS
-- One row per point, names joined in.
SELECT analysis.id AS analysis_id, model.name AS model, dataset.name AS dataset, analysis.policy,
       analysis.solution, analysis.sequences, point.layer, point.head, analysis_head.class,
       point.curve, point.x, point.mean, point.lo, point.hi, point.n
FROM analysis_point AS point
JOIN analysis ON analysis.id = point.analysis_id
JOIN model ON model.id = analysis.model_id
JOIN dataset ON dataset.id = analysis.dataset_id
LEFT JOIN analysis_head ON analysis_head.analysis_id = point.analysis_id
                       AND analysis_head.layer = point.layer AND analysis_head.head = point.head;

PRAGMA user_version = 2;
