-- Plans have policies, and these have secrets: an edition may be 'plan/<id>', too.
CREATE TABLE secrets_of_all_editions (
    api     TEXT NOT NULL REFERENCES apis (id) ON DELETE CASCADE,
    edition TEXT NOT NULL CHECK (edition IN ('draft', 'deployed') OR edition GLOB 'plan/*'),
    path    TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (api, edition, path)
) STRICT, WITHOUT ROWID;
INSERT INTO secrets_of_all_editions SELECT api, edition, path, sealed FROM secrets;
DROP TABLE secrets;
ALTER TABLE secrets_of_all_editions RENAME TO secrets;
