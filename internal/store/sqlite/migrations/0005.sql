-- What an intent's one-time token and its certificate's revocation list need.
ALTER TABLE intents ADD COLUMN owner_expires INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN partition INTEGER NOT NULL DEFAULT 0;

-- One-time tokens that were spent: nothing but a key and its end.
CREATE TABLE spent_tokens (
    id      TEXT    NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_tokens_expires ON spent_tokens (expires) WHERE expires > 0;

-- The shares of an issuer's certificates, 0 for all of them, and how their
-- revocation lists stand. The lists are apart, so that a revocation does not
-- write them anew. Partition 0 is here once something was revoked or its list
-- was published; until then it counts as never published.
CREATE TABLE partitions (
    issuer_id   TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    changed     INTEGER NOT NULL, -- grows with each revocation
    published   INTEGER NOT NULL, -- what changed was when the list in force was made, -1 for no list
    list_number INTEGER NOT NULL, -- of the list in force, 0 for none
    next_update INTEGER NOT NULL,
    ended       INTEGER NOT NULL, -- 1 when the list in force is the last that is needed
    PRIMARY KEY (issuer_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX partitions_changed ON partitions (issuer_id, number) WHERE changed > published;
CREATE INDEX partitions_due ON partitions (issuer_id, ended, next_update);

CREATE TABLE revocation_lists (
    issuer_id   TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der         BLOB    NOT NULL,
    PRIMARY KEY (issuer_id, partition)
) STRICT;

-- The first is for when a partition is full and when its last certificate has
-- expired. The second holds all that a revocation list says, so that one is
-- made without reading certificates; expired ones come first and are skipped.
CREATE INDEX certificates_partition ON certificates (issuer_id, partition, not_after);
CREATE INDEX certificates_listed ON certificates (issuer_id, partition, not_after, serial, revoked, reason) WHERE revoked > 0;

CREATE TABLE incidents (
    id          TEXT    NOT NULL PRIMARY KEY,
    query       TEXT    NOT NULL,
    explanation TEXT    NOT NULL,
    opened      INTEGER NOT NULL,
    renew_by    INTEGER NOT NULL,
    closed      INTEGER NOT NULL
) STRICT;

CREATE TABLE provisioners (
    name    TEXT    NOT NULL PRIMARY KEY,
    type    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    spec    TEXT    NOT NULL
) STRICT;

CREATE TABLE admin_tokens (
    id      TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    hash    BLOB    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT;
