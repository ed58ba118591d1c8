-- Small facts that outlive a connection. `written` grows with each write, so that the note of a group that was
-- written longest ago is found; a note that is one of no group has none. Times are milliseconds since 1970.
CREATE TABLE notes (
    written    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    note_group TEXT,
    text       TEXT NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE INDEX notes_of_groups ON notes (note_group, written) WHERE note_group IS NOT NULL;
CREATE INDEX notes_that_expire ON notes (expires_at) WHERE expires_at IS NOT NULL;

-- How many notes a group has, so that nobody counts them for each that is written.
CREATE TABLE note_groups (
    note_group TEXT PRIMARY KEY,
    notes      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER note_comes AFTER INSERT ON notes WHEN NEW.note_group IS NOT NULL BEGIN
    INSERT INTO note_groups VALUES (NEW.note_group, 1) ON CONFLICT DO UPDATE SET notes = notes + 1;
END;

CREATE TRIGGER note_goes AFTER DELETE ON notes WHEN OLD.note_group IS NOT NULL BEGIN
    UPDATE note_groups SET notes = notes - 1 WHERE note_group = OLD.note_group;
    DELETE FROM note_groups WHERE note_group = OLD.note_group AND notes = 0;
END;

