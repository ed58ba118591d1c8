-- Definitions are JSON with every secret masked; what stands behind a mask is in `secrets`, encrypted.
-- Times are milliseconds since 1970.
CREATE TABLE apis (
    id          TEXT PRIMARY KEY,
    draft       TEXT NOT NULL,
    deployed    TEXT,
    started     INTEGER NOT NULL,
    catalogue   TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    deployed_at INTEGER
) STRICT;

CREATE TABLE plans (
    api          TEXT NOT NULL REFERENCES apis (id) ON DELETE CASCADE,
    ordinal      INTEGER NOT NULL,
    definition   TEXT NOT NULL,
    catalogue    TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    published_at INTEGER,
    closed_at    INTEGER,
    PRIMARY KEY (api, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    api     TEXT NOT NULL REFERENCES apis (id) ON DELETE CASCADE,
    edition TEXT NOT NULL CHECK (edition IN ('draft', 'deployed')),
    path    TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (api, edition, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE applications (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    catalogue   TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

PRAGMA user_version = 1;
