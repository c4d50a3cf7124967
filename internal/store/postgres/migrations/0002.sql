-- What nodes share beside the records of the CA.

-- Secrets that all nodes have.
CREATE TABLE secrets (
    name  text  COLLATE "C" NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

-- How often what nodes keep at hand was changed, by kind.
CREATE TABLE versions (
    kind    text   COLLATE "C" NOT NULL PRIMARY KEY,
    version bigint NOT NULL
);

INSERT INTO versions VALUES ('accounts', 0), ('bindings', 0), ('provisioners', 0), ('incidents', 0), ('revocations', 0), ('issuers', 0);

-- Nonces that were spent. Those below the floor count as spent, so their rows
-- can go.
CREATE TABLE spent_nonces (
    id bytea NOT NULL PRIMARY KEY
);

CREATE TABLE nonce_floor (
    id bytea NOT NULL
);

INSERT INTO nonce_floor VALUES ('');

-- What limits have counted: when all of it is worked off, in nanoseconds since
-- 1970. That has no index, so that counting changes none.
CREATE TABLE limit_counts (
    key  bytea  NOT NULL PRIMARY KEY,
    done bigint NOT NULL
);

CREATE TABLE leases (
    name   text   COLLATE "C" NOT NULL PRIMARY KEY,
    holder text   NOT NULL, -- '' for nobody
    token  bigint NOT NULL,
    until  bigint NOT NULL -- by the server's clock
);

CREATE TABLE nodes (
    id      text   COLLATE "C" NOT NULL PRIMARY KEY,
    name    text   COLLATE "C" NOT NULL,
    version text   NOT NULL,
    started bigint NOT NULL,
    clock   bigint NOT NULL,
    seen    bigint NOT NULL, -- by the server's clock
    details text   NOT NULL
);

-- What ranges of serials have partitions of their own: none where the
-- certificates are in one table. Each is 5 octets with which serials begin.
CREATE TABLE certificate_ranges (
    low  bytea NOT NULL PRIMARY KEY,
    high bytea NOT NULL
);

-- Services are found by any part of their names in two tables. service_parts
-- has the ends of each name from each character of its first label on. This one
-- has the ends of the domains that names are in, from the dot before them on:
-- once for all names in one.
CREATE TABLE domain_parts (
    part   text COLLATE "C" NOT NULL,
    domain text COLLATE "C" NOT NULL,
    PRIMARY KEY (part, domain)
);

-- The domains in domain_parts: who enters or removes one holds its row.
CREATE TABLE searched_domains (
    domain text COLLATE "C" NOT NULL PRIMARY KEY
);

-- What was entered before went on to the end of each name, so all is entered anew.
TRUNCATE service_parts;
UPDATE services SET searchable = false WHERE searchable;
