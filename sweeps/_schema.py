"""The tables of the run store."""

SCHEMA_VERSION = 3

SCHEMA = """
CREATE TABLE about (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    revision TEXT NOT NULL,      -- '' where there is none, so that UNIQUE holds
    step INTEGER,
    identity TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (model, revision, identity)
);

-- One row for each finished (checkpoint, probe, configuration, versions): written with all its values at once.
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    checkpoint INTEGER NOT NULL REFERENCES checkpoints (id),
    probe TEXT NOT NULL,
    config_hash TEXT NOT NULL,
    config TEXT NOT NULL,
    versions_hash TEXT NOT NULL,     -- of the versions that make it another measurement
    versions TEXT NOT NULL,          -- those, and what is recorded beside them
    dtype TEXT NOT NULL,
    device TEXT NOT NULL,
    attention TEXT NOT NULL,
    seed INTEGER NOT NULL,
    seconds REAL NOT NULL,
    bytes_read INTEGER NOT NULL,
    peak_memory INTEGER NOT NULL,
    details TEXT NOT NULL,
    asked INTEGER NOT NULL UNIQUE,   -- rises with every asking: what was asked for last is what the run shows;
                                     -- negative where it is set aside, and shown again only when it is asked for anew
    UNIQUE (checkpoint, probe, config_hash, versions_hash)
);

CREATE TABLE vals (
    measurement INTEGER NOT NULL REFERENCES measurements (id),
    metric TEXT NOT NULL,
    layer INTEGER,
    site TEXT,
    component TEXT,
    value REAL NOT NULL,
    stderr REAL,
    n INTEGER
);
CREATE INDEX vals_of ON vals (measurement);

CREATE TABLE vectors (
    measurement INTEGER NOT NULL REFERENCES measurements (id),
    metric TEXT NOT NULL,
    layer INTEGER,
    site TEXT,
    component TEXT,
    data BLOB NOT NULL           -- float64, little-endian
);
CREATE INDEX vectors_of ON vectors (measurement);

-- What went wrong and has not gone right since. probe '' means the checkpoint did not open.
CREATE TABLE failures (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    step INTEGER,
    probe TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (model, revision, probe)
) WITHOUT ROWID;

-- What the audit of the last sweep over a model found, and how much it looked at.
CREATE TABLE audit (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    step INTEGER,
    kind TEXT NOT NULL,
    line TEXT NOT NULL,
    twin TEXT
);
CREATE TABLE audited (
    model TEXT PRIMARY KEY,
    checkpoints INTEGER NOT NULL,
    bytes_read INTEGER NOT NULL
) WITHOUT ROWID;

-- What the audit saw of each checkpoint, so that it is not read again while its identity is the same.
CREATE TABLE looks (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    identity TEXT NOT NULL,
    content TEXT,                -- on the Hub, a digest of what the commit holds
    layout TEXT NOT NULL REFERENCES layouts (digest),
    head TEXT,                   -- sha256 of its bytes
    sketch BLOB,                 -- float32, little-endian
    faults TEXT NOT NULL,
    bytes_read INTEGER NOT NULL,
    PRIMARY KEY (model, revision)
);
CREATE TABLE layouts (           -- names, shapes and types of tensors: one for most checkpoints of a series
    digest TEXT PRIMARY KEY,
    tensors TEXT NOT NULL
) WITHOUT ROWID;
"""

ADDED = """
-- Failures that the last sweep over their model did not ask for again.
CREATE TABLE IF NOT EXISTS earlier_failures (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    probe TEXT NOT NULL,
    PRIMARY KEY (model, revision, probe)
) WITHOUT ROWID;

-- Tasks that the last sweep over a model left out, because its tokenizer or context cannot have them.
CREATE TABLE IF NOT EXISTS left_out (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    task TEXT NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (model, revision, task)
) WITHOUT ROWID;

-- How many measurements a checkpoint that did not open was asked for in vain, beside its failure with probe ''.
CREATE TABLE IF NOT EXISTS unmade (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    measurements INTEGER NOT NULL,
    PRIMARY KEY (model, revision)
) WITHOUT ROWID;

-- What the audit saw of each checkpoint's tokenizer, beside the table looks.
CREATE TABLE IF NOT EXISTS tokenizers (
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    digest TEXT NOT NULL,        -- '' where there is none
    PRIMARY KEY (model, revision)
) WITHOUT ROWID;
"""
"""Tables that came later: a run without them is given them when it is written to, and reads as if they were empty."""
