-- The inventory: services, names that can be searched, counts. What existing
-- certificates need of it SQL can't tell: backfill.go puts it in, and notes in
-- inventory_backfill how far it came.
ALTER TABLE certificates ADD COLUMN service INTEGER NOT NULL DEFAULT 0; -- 0 for a certificate without names
ALTER TABLE certificates ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN key_hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE certificates ADD COLUMN partition INTEGER NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN replaces_issuer TEXT NOT NULL DEFAULT ''; -- '' when it replaces nothing
ALTER TABLE certificates ADD COLUMN replaces_serial BLOB NOT NULL DEFAULT x'';

CREATE TABLE inventory_backfill (
    done INTEGER NOT NULL, -- the rowid of the last certificate that is finished
    till INTEGER NOT NULL
) STRICT;

INSERT INTO inventory_backfill SELECT 0, max(rowid) FROM certificates HAVING count(*) > 0;

-- A service is a set of names. Its numbers grow, so that what refers to it
-- grows at one end as long as services are new.
CREATE TABLE services (
    number        INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL UNIQUE, -- store.ServiceID in 16 octets
    records       INTEGER NOT NULL,        -- certificates with these names, abandoned ones included
    certificates  INTEGER NOT NULL,        -- without these; what follows says nothing while it is 0
    first         INTEGER NOT NULL,
    last          INTEGER NOT NULL,
    newest_serial BLOB    NOT NULL,
    newest_issuer TEXT    NOT NULL,
    valid_until   INTEGER NOT NULL,        -- 0 when all are revoked
    types         TEXT    NOT NULL,        -- a line for each name, and so in
    names         TEXT    NOT NULL         -- this; it begins with an empty one
) STRICT;

CREATE INDEX services_valid_until ON services (valid_until) WHERE certificates > 0;

-- The names of services by the domain they are in. The domain is turned
-- around and ends in a dot, so that all below it are beside each other: www.a.corp
-- is www in corp.a. and *.corp is * in corp. Names that are no domain names
-- are in ~.
CREATE TABLE service_names (
    domain  TEXT    NOT NULL,
    label   TEXT    NOT NULL,
    service INTEGER NOT NULL,
    PRIMARY KEY (domain, label, service)
) STRICT, WITHOUT ROWID;

-- Finds services by any three letters of their names. It keeps no text and no
-- positions: what it finds is compared with the names. Services are entered in
-- batches, which costs a fourth of one by one: those above indexed are not in yet.
-- Merging eight parts of it at once, not four, is cheaper, and reads no slower.
CREATE VIRTUAL TABLE service_search USING fts5(names, content = '', columnsize = 0, detail = none, tokenize = 'trigram');
INSERT INTO service_search (service_search, rank) VALUES ('automerge', 8);

CREATE TABLE service_search_state (
    indexed INTEGER NOT NULL
) STRICT;

INSERT INTO service_search_state VALUES (0);

-- How many certificates there are, by their last moment: all of them at level
-- 0, in spans of 2^16 ms at level 1 and of 2^25 ms at level 2. See counts.go.
CREATE TABLE certificate_counts (
    level     INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    issuer_id TEXT    NOT NULL,
    profile   TEXT    NOT NULL,
    good      INTEGER NOT NULL, -- neither revoked nor abandoned
    revoked   INTEGER NOT NULL,
    abandoned INTEGER NOT NULL,
    PRIMARY KEY (level, start, issuer_id, profile)
) STRICT, WITHOUT ROWID;

DROP TABLE certificate_names;

-- The serial in an index is for pages, which are in its order. Key hashes come
-- in no order; the others grow at one end, or do so while services are new.
DROP INDEX certificates_not_after;
DROP INDEX certificates_revoked;
CREATE INDEX certificates_not_after ON certificates (not_after, serial);
CREATE INDEX certificates_issued ON certificates (issued, serial);
CREATE INDEX certificates_revoked ON certificates (abandoned, revoked, serial) WHERE revoked > 0;
CREATE INDEX certificates_issuer ON certificates (issuer_id, serial);
CREATE INDEX certificates_requester ON certificates (requester, serial);
CREATE INDEX certificates_subject ON certificates (subject, serial) WHERE subject <> '';
CREATE INDEX certificates_key ON certificates (key_hash, serial) WHERE key_hash <> x'';
CREATE INDEX certificates_replaces ON certificates (replaces_serial, replaces_issuer, serial) WHERE replaces_issuer <> '';
CREATE INDEX certificates_service ON certificates (service, serial) WHERE service > 0;
-- For when a service ends once a certificate of it is revoked.
CREATE INDEX certificates_unrevoked ON certificates (service, not_after) WHERE service > 0 AND revoked = 0;
