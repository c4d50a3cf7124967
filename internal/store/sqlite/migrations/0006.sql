-- A name that no other store has, by which a migration knows where it comes from.
CREATE TABLE identity (
    id TEXT NOT NULL
) STRICT;

INSERT INTO identity VALUES (lower(hex(randomblob(16))));

-- While records are moved into this store, the identity of the one they come
-- from, and for each kind the key of the last that has come.
CREATE TABLE transfer (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    source TEXT    NOT NULL
) STRICT;

CREATE TABLE transfer_positions (
    kind     TEXT NOT NULL PRIMARY KEY,
    position BLOB NOT NULL
) STRICT, WITHOUT ROWID;
