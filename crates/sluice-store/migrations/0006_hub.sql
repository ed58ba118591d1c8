-- API keys: a record has the SHA-256 of a key; its text is kept nowhere. The API may be managed in a file, so
-- there is no reference to it, here and below.
CREATE TABLE api_keys (
    api    TEXT NOT NULL,
    name   TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (api, name)
) STRICT, WITHOUT ROWID;

-- Webhook secrets: a record is JSON with its secrets masked; these are beside it, encrypted.
CREATE TABLE webhook_secrets (
    api    TEXT NOT NULL,
    name   TEXT NOT NULL,
    record TEXT NOT NULL,
    value  BLOB NOT NULL,
    former BLOB,
    PRIMARY KEY (api, name)
) STRICT, WITHOUT ROWID;

-- Requests to the hub that are not settled, in the order in which they came; the subscriber's secret is
-- encrypted.
CREATE TABLE hub_requests (
    ordinal INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    api     TEXT NOT NULL,
    record  TEXT NOT NULL,
    secret  BLOB
) STRICT;

CREATE INDEX hub_requests_of_api ON hub_requests (api);
