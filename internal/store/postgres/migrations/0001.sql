-- Times are milliseconds since 1970, 0 for none; lists and reports are JSON
-- text, '' for none. Text that is a key or an order has the collation "C",
-- whatever the database's own. There are no foreign keys: each step looks at
-- what it depends on, and a check would lock the account for each of its orders.

CREATE TABLE accounts (
    id              text   COLLATE "C" NOT NULL PRIMARY KEY,
    thumbprint      text   COLLATE "C" NOT NULL UNIQUE,
    status          text   NOT NULL,
    created         bigint NOT NULL,
    terms_agreed    bigint NOT NULL,
    binding_id      text   COLLATE "C" NOT NULL,
    contact         text   NOT NULL,
    jwk             bytea  NOT NULL,
    binding_request text   NOT NULL
);

CREATE INDEX accounts_binding ON accounts (binding_id, id) WHERE binding_id <> '';

CREATE TABLE orders (
    id                 text   COLLATE "C" NOT NULL PRIMARY KEY,
    account_id         text   COLLATE "C" NOT NULL,
    profile            text   NOT NULL,
    not_before         bigint NOT NULL,
    not_after          bigint NOT NULL,
    replaces_issuer    text   COLLATE "C" NOT NULL, -- '' when it replaces nothing
    replaces_serial    bytea  NOT NULL,
    created            bigint NOT NULL,
    expires            bigint NOT NULL,
    finalized          bigint NOT NULL,
    certificate_issuer text   COLLATE "C" NOT NULL, -- '' while there is none
    certificate_serial bytea  NOT NULL,
    identifiers        text   NOT NULL,
    authorization_ids  text   NOT NULL, -- with a space between
    failure            text   NOT NULL
);

CREATE INDEX orders_account ON orders (account_id, id);
CREATE INDEX orders_expires ON orders (expires);
CREATE INDEX orders_replaces ON orders (replaces_serial, replaces_issuer) WHERE replaces_issuer <> '';

-- A row for each certificate that an order is to replace: who makes such an
-- order holds it, so that one after the other looks for rivals.
CREATE TABLE replacements (
    serial    bytea NOT NULL,
    issuer_id text  COLLATE "C" NOT NULL,
    PRIMARY KEY (serial, issuer_id)
);

CREATE TABLE authorizations (
    id           text    COLLATE "C" NOT NULL PRIMARY KEY,
    account_id   text    COLLATE "C" NOT NULL,
    order_id     text    COLLATE "C" NOT NULL, -- the order it was made for, '' for none
    type         text    COLLATE "C" NOT NULL,
    value        text    COLLATE "C" NOT NULL,
    wildcard     boolean NOT NULL,
    token        text    NOT NULL,
    methods      text    NOT NULL,
    state        text    NOT NULL,
    created      bigint  NOT NULL,
    expires      bigint  NOT NULL,
    method       text    NOT NULL,
    thumbprint   text    NOT NULL,
    settled      bigint  NOT NULL,
    next_attempt bigint  NOT NULL, -- above 0 exactly while it is processing
    claimed_till bigint  NOT NULL,
    grant_id     text    NOT NULL,
    subdomains   boolean NOT NULL,
    failure      text    NOT NULL,
    attempts     text    NOT NULL  -- JSON objects with commas between, so that one is appended without reading the others
);

CREATE INDEX authorizations_valid ON authorizations (account_id, value, type, wildcard, expires) WHERE state = 'valid';
CREATE INDEX authorizations_due ON authorizations (next_attempt) WHERE next_attempt > 0;
CREATE INDEX authorizations_expires ON authorizations (expires);

-- The orders that list an authorization made for another order.
CREATE TABLE authorization_reuses (
    authorization_id text COLLATE "C" NOT NULL,
    order_id         text COLLATE "C" NOT NULL,
    PRIMARY KEY (authorization_id, order_id)
);

-- Only what is not settled: a row lives as long as a signature takes.
CREATE TABLE intents (
    serial        bytea  NOT NULL,
    issuer_id     text   COLLATE "C" NOT NULL,
    owner_kind    text   NOT NULL,
    owner_id      text   NOT NULL,
    owner_expires bigint NOT NULL,
    partition     bigint NOT NULL,
    attempt       bigint NOT NULL,
    created       bigint NOT NULL,
    deadline      bigint NOT NULL,
    tbs           bytea  NOT NULL,
    request       bytea  NOT NULL,
    PRIMARY KEY (serial, issuer_id)
);

-- One-time tokens that were spent: nothing but a key and its end.
CREATE TABLE spent_tokens (
    id      text   COLLATE "C" NOT NULL PRIMARY KEY,
    expires bigint NOT NULL
);

CREATE INDEX spent_tokens_expires ON spent_tokens (expires) WHERE expires > 0;

-- The serial is first in the key, for questions by serial alone. It begins with
-- the time, so all indexes but those by fingerprint, key and service grow at
-- one end, or at one for each account, profile or issuer.
CREATE TABLE certificates (
    serial          bytea   NOT NULL,
    issuer_id       text    COLLATE "C" NOT NULL,
    owner_kind      text    NOT NULL,
    owner_id        text    NOT NULL,
    account_id      text    COLLATE "C" NOT NULL,
    requester       text    COLLATE "C" NOT NULL,
    profile         text    COLLATE "C" NOT NULL,
    rule            text    NOT NULL,
    fingerprint     bytea   NOT NULL,
    not_before      bigint  NOT NULL,
    not_after       bigint  NOT NULL,
    issued          bigint  NOT NULL,
    abandoned       boolean NOT NULL,
    revoked         bigint  NOT NULL,
    reason          bigint  NOT NULL,
    subject         text    COLLATE "C" NOT NULL,
    key_hash        bytea   NOT NULL,
    partition       bigint  NOT NULL,
    replaces_issuer text    COLLATE "C" NOT NULL, -- '' when it replaces nothing
    replaces_serial bytea   NOT NULL,
    service         bytea   NOT NULL, -- '' for a certificate without names
    identifiers     text    NOT NULL,
    der             bytea   NOT NULL,
    PRIMARY KEY (serial, issuer_id)
);

CREATE INDEX certificates_account ON certificates (account_id, serial) WHERE account_id <> '';
CREATE INDEX certificates_profile ON certificates (profile, serial);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_not_after ON certificates (not_after, serial);
CREATE INDEX certificates_issued ON certificates (issued, serial);
CREATE INDEX certificates_revoked ON certificates (abandoned, revoked, serial) WHERE revoked > 0;
CREATE INDEX certificates_issuer ON certificates (issuer_id, serial);
CREATE INDEX certificates_requester ON certificates (requester, serial);
CREATE INDEX certificates_subject ON certificates (subject, serial) WHERE subject <> '';
CREATE INDEX certificates_key ON certificates (key_hash, serial) WHERE key_hash <> '';
CREATE INDEX certificates_replaces ON certificates (replaces_serial, replaces_issuer, serial) WHERE replaces_issuer <> '';
CREATE INDEX certificates_service ON certificates (service, serial) WHERE service <> '';
-- For when a service ends once a certificate of it is revoked.
CREATE INDEX certificates_unrevoked ON certificates (service, not_after) WHERE service <> '' AND revoked = 0;
-- For when a partition is full and when its last certificate has expired.
CREATE INDEX certificates_partition ON certificates (issuer_id, partition, not_after);
-- All that a revocation list says.
CREATE INDEX certificates_listed ON certificates (issuer_id, partition, not_after, serial, revoked, reason) WHERE revoked > 0;

-- A service is a set of names.
CREATE TABLE services (
    id            bytea   NOT NULL PRIMARY KEY,
    number        bigint  GENERATED BY DEFAULT AS IDENTITY, -- the order in which they were first seen
    records       bigint  NOT NULL, -- certificates with these names, abandoned ones included
    certificates  bigint  NOT NULL, -- without these; what follows says nothing while it is 0
    first         bigint  NOT NULL,
    last          bigint  NOT NULL,
    newest_serial bytea   NOT NULL,
    newest_issuer text    COLLATE "C" NOT NULL,
    valid_until   bigint  NOT NULL, -- 0 when all are revoked
    searchable    boolean NOT NULL, -- whether service_parts has its names
    types         text    NOT NULL, -- a line for each name, and so in
    names         text    NOT NULL  -- this; it begins with an empty one
);

CREATE UNIQUE INDEX services_number ON services (number);
CREATE INDEX services_valid_until ON services (valid_until, number) WHERE certificates > 0;
CREATE INDEX services_unsearchable ON services (number) WHERE NOT searchable;

-- The names of services by the domain they are in. The domain is turned
-- around and ends in a dot, so that all below it are beside each other: www.a.corp
-- is www in corp.a. and *.corp is * in corp. Names that are no domain names
-- are in ~.
CREATE TABLE service_names (
    domain  text  COLLATE "C" NOT NULL,
    label   text  COLLATE "C" NOT NULL,
    service bytea NOT NULL,
    PRIMARY KEY (domain, label, service)
);

CREATE INDEX service_names_service ON service_names (service);

-- Finds services by any part of their names: each end of a name, from each of
-- its characters on, as far as 24 characters. It is filled in batches, off the
-- road to a certificate.
CREATE TABLE service_parts (
    part    text  COLLATE "C" NOT NULL,
    service bytea NOT NULL,
    PRIMARY KEY (part, service)
);

-- How many certificates there are, by their last moment: all of them at level
-- 0, in spans of 2^16 ms at level 1 and of 2^25 ms at level 2. See counts.go.
CREATE TABLE certificate_counts (
    level     bigint NOT NULL,
    start     bigint NOT NULL,
    issuer_id text   COLLATE "C" NOT NULL,
    profile   text   COLLATE "C" NOT NULL,
    good      bigint NOT NULL, -- neither revoked nor abandoned
    revoked   bigint NOT NULL,
    abandoned bigint NOT NULL,
    PRIMARY KEY (level, start, issuer_id, profile)
);

-- What has come since: one row for each change, so that issuances never wait
-- for each other. Now and then these are added to the above.
CREATE TABLE certificate_changes (
    id        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    not_after bigint NOT NULL,
    issuer_id text   COLLATE "C" NOT NULL,
    profile   text   COLLATE "C" NOT NULL,
    good      bigint NOT NULL,
    revoked   bigint NOT NULL,
    abandoned bigint NOT NULL
);

CREATE TABLE issuers (
    id             text  COLLATE "C" NOT NULL PRIMARY KEY,
    subject_key_id bytea NOT NULL,
    chain          text  NOT NULL,
    alternates     text  NOT NULL
);

CREATE TABLE bindings (
    id         text    COLLATE "C" NOT NULL PRIMARY KEY,
    name       text    NOT NULL,
    secret     bytea   NOT NULL,
    single_use boolean NOT NULL,
    created    bigint  NOT NULL,
    expires    bigint  NOT NULL,
    revoked    bigint  NOT NULL,
    used_by    text    NOT NULL,
    used       bigint  NOT NULL,
    uses       bigint  NOT NULL,
    granted    text    NOT NULL
);

-- The shares of an issuer's certificates, 0 for all of them, and how their
-- revocation lists stand. Partition 0 is here once something was revoked or its
-- list was published; until then it counts as never published.
CREATE TABLE partitions (
    issuer_id   text   COLLATE "C" NOT NULL,
    number      bigint NOT NULL,
    created     bigint NOT NULL,
    changed     bigint NOT NULL, -- grows with each revocation
    published   bigint NOT NULL, -- what changed was when the list in force was made, -1 for no list
    list_number bigint NOT NULL, -- of the list in force, 0 for none
    next_update bigint NOT NULL,
    ended       bigint NOT NULL, -- 1 when the list in force is the last that is needed, 2 when it may be
    PRIMARY KEY (issuer_id, number)
);

CREATE INDEX partitions_changed ON partitions (issuer_id, number) WHERE changed > published;
CREATE INDEX partitions_due ON partitions (issuer_id, next_update);

CREATE TABLE revocation_lists (
    issuer_id   text   COLLATE "C" NOT NULL,
    partition   bigint NOT NULL,
    number      bigint NOT NULL,
    this_update bigint NOT NULL,
    next_update bigint NOT NULL,
    der         bytea  NOT NULL,
    PRIMARY KEY (issuer_id, partition)
);

CREATE TABLE incidents (
    id          text   COLLATE "C" NOT NULL PRIMARY KEY,
    query       text   NOT NULL,
    explanation text   NOT NULL,
    opened      bigint NOT NULL,
    renew_by    bigint NOT NULL,
    closed      bigint NOT NULL
);

CREATE TABLE provisioners (
    name    text   COLLATE "C" NOT NULL PRIMARY KEY,
    type    text   NOT NULL,
    created bigint NOT NULL,
    spec    text   NOT NULL
);

CREATE TABLE admin_tokens (
    id      text   COLLATE "C" NOT NULL PRIMARY KEY,
    name    text   NOT NULL,
    role    text   NOT NULL,
    hash    bytea  NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    revoked bigint NOT NULL
);

-- One row that Ping writes, for a full disk is noticed only by writing.
CREATE TABLE pings (
    at bigint NOT NULL
);

INSERT INTO pings VALUES (0);
