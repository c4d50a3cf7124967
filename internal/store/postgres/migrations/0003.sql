-- A name that no other store has, by which a migration knows where it comes from.
CREATE TABLE identity (
    id text NOT NULL
);

INSERT INTO identity SELECT replace(gen_random_uuid()::text, '-', '');

-- While records are moved into this store, the identity of the one they come
-- from, and for each kind the key of the last that has come.
CREATE TABLE transfer (
    one    bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    source text   NOT NULL
);

CREATE TABLE transfer_positions (
    kind     text  COLLATE "C" NOT NULL PRIMARY KEY,
    position bytea NOT NULL
);
