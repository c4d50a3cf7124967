-- Times are milliseconds since 1970, 0 for none; lists and reports are JSON
-- text, '' for none. Rowid tables: keyed storage (WITHOUT ROWID) measured a
-- third slower for rows of this size. Large columns come last, so that reading
-- the others does not walk through them. There are no foreign keys: each step
-- looks at what it depends on, and a check would cost a lookup for each row.

CREATE TABLE accounts (
    id              TEXT    NOT NULL PRIMARY KEY,
    thumbprint      TEXT    NOT NULL UNIQUE,
    status          TEXT    NOT NULL,
    created         INTEGER NOT NULL,
    terms_agreed    INTEGER NOT NULL,
    binding_id      TEXT    NOT NULL,
    contact         TEXT    NOT NULL,
    jwk             BLOB    NOT NULL,
    binding_request TEXT    NOT NULL
) STRICT;

CREATE INDEX accounts_binding ON accounts (binding_id, id) WHERE binding_id <> '';

CREATE TABLE orders (
    id                 TEXT    NOT NULL PRIMARY KEY,
    account_id         TEXT    NOT NULL,
    profile            TEXT    NOT NULL,
    not_before         INTEGER NOT NULL,
    not_after          INTEGER NOT NULL,
    replaces_issuer    TEXT    NOT NULL, -- '' when it replaces nothing
    replaces_serial    BLOB    NOT NULL,
    created            INTEGER NOT NULL,
    expires            INTEGER NOT NULL,
    finalized          INTEGER NOT NULL,
    certificate_issuer TEXT    NOT NULL, -- '' while there is none
    certificate_serial BLOB    NOT NULL,
    identifiers        TEXT    NOT NULL,
    authorization_ids  TEXT    NOT NULL,
    failure            TEXT    NOT NULL
) STRICT;

CREATE INDEX orders_account ON orders (account_id, id);
CREATE INDEX orders_expires ON orders (expires);
CREATE INDEX orders_replaces ON orders (replaces_serial, replaces_issuer) WHERE replaces_issuer <> '';

CREATE TABLE authorizations (
    id           TEXT    NOT NULL PRIMARY KEY,
    account_id   TEXT    NOT NULL,
    order_id     TEXT    NOT NULL, -- the order it was made for, '' for none
    type         TEXT    NOT NULL,
    value        TEXT    NOT NULL,
    wildcard     INTEGER NOT NULL,
    token        TEXT    NOT NULL,
    methods      TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    method       TEXT    NOT NULL,
    thumbprint   TEXT    NOT NULL,
    settled      INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL, -- above 0 exactly while it is processing
    claimed_till INTEGER NOT NULL,
    failure      TEXT    NOT NULL,
    attempts     TEXT    NOT NULL  -- JSON objects with commas between, so that one is appended without reading the others
) STRICT;

CREATE INDEX authorizations_valid ON authorizations (account_id, value, type, wildcard, expires) WHERE state = 'valid';
CREATE INDEX authorizations_due ON authorizations (next_attempt) WHERE next_attempt > 0;
CREATE INDEX authorizations_expires ON authorizations (expires);

-- The orders that list an authorization made for another order.
CREATE TABLE authorization_reuses (
    authorization_id TEXT NOT NULL,
    order_id         TEXT NOT NULL,
    PRIMARY KEY (authorization_id, order_id)
) STRICT, WITHOUT ROWID;

-- Only what is not settled: a row lives as long as a signature takes, so
-- questions by deadline may read all of it.
CREATE TABLE intents (
    serial     BLOB    NOT NULL,
    issuer_id  TEXT    NOT NULL,
    owner_kind TEXT    NOT NULL,
    owner_id   TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    tbs        BLOB    NOT NULL,
    request    BLOB    NOT NULL,
    PRIMARY KEY (serial, issuer_id)
) STRICT;

CREATE TABLE certificates (
    serial      BLOB    NOT NULL, -- 20 octets; first in the key, for questions by serial alone
    issuer_id   TEXT    NOT NULL,
    owner_kind  TEXT    NOT NULL,
    owner_id    TEXT    NOT NULL,
    account_id  TEXT    NOT NULL,
    requester   TEXT    NOT NULL,
    profile     TEXT    NOT NULL,
    rule        TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    issued      INTEGER NOT NULL,
    abandoned   INTEGER NOT NULL,
    revoked     INTEGER NOT NULL,
    reason      INTEGER NOT NULL,
    identifiers TEXT    NOT NULL,
    der         BLOB    NOT NULL,
    PRIMARY KEY (serial, issuer_id)
) STRICT;

-- Fingerprints and names come in no order, so each costs a page of the log for
-- each certificate, of about ten. The other indexes grow at one end (by account,
-- by profile) and cost one for each commit: dropping any of them, here or on
-- orders and authorizations, gained less than the measurement's own noise.
CREATE INDEX certificates_account ON certificates (account_id, serial) WHERE account_id <> '';
CREATE INDEX certificates_profile ON certificates (profile, serial);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_not_after ON certificates (not_after);
CREATE INDEX certificates_revoked ON certificates (revoked) WHERE revoked > 0;

-- An index over the identifiers of certificates, so it is nothing but a key.
CREATE TABLE certificate_names (
    value     TEXT NOT NULL,
    serial    BLOB NOT NULL,
    issuer_id TEXT NOT NULL,
    PRIMARY KEY (value, serial, issuer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE issuers (
    id             TEXT NOT NULL PRIMARY KEY,
    subject_key_id BLOB NOT NULL,
    chain          TEXT NOT NULL
) STRICT;

CREATE TABLE bindings (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    secret     BLOB    NOT NULL,
    single_use INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    revoked    INTEGER NOT NULL,
    used_by    TEXT    NOT NULL,
    used       INTEGER NOT NULL,
    uses       INTEGER NOT NULL
) STRICT;

-- One row that Ping writes, for a full disk is noticed only by writing.
CREATE TABLE pings (
    at INTEGER NOT NULL
) STRICT;

INSERT INTO pings VALUES (0);
