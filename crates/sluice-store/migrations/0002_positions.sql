-- How far the readers have come that outlive a connection. `written` grows with each write, so that the
-- client of an event API that was written longest ago is found; `clients` is what the names of that API's
-- clients begin with.
CREATE TABLE positions (
    written  INTEGER PRIMARY KEY,
    reader   TEXT NOT NULL UNIQUE,
    clients  TEXT,
    position TEXT NOT NULL
) STRICT;

CREATE INDEX positions_of_clients ON positions (clients, written) WHERE clients IS NOT NULL;
