-- A subscription is JSON with every secret of its callback masked; what stands behind a mask is in
-- `subscription_secrets`, encrypted. Its API may be managed in a file, so there is no reference to it.
CREATE TABLE subscriptions (
    id     TEXT PRIMARY KEY,
    api    TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;

CREATE INDEX subscriptions_of_api ON subscriptions (api);

CREATE TABLE subscription_secrets (
    subscription TEXT NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    path         TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    PRIMARY KEY (subscription, path)
) STRICT, WITHOUT ROWID;

ALTER TABLE applications ADD COLUMN client_id TEXT;
ALTER TABLE applications ADD COLUMN archived_at INTEGER;

UPDATE applications SET client_id = json_extract(catalogue, '$.settings.app.client_id');
