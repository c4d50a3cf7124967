-- What binding keys grant, as JSON; '' for nothing.
ALTER TABLE bindings ADD COLUMN granted TEXT NOT NULL DEFAULT '';

-- The grant that stands for a proof; '' where the name was proven, or is yet
-- to be. And whether the proof counts for the names below, too (RFC 9444).
ALTER TABLE authorizations ADD COLUMN grant_id TEXT NOT NULL DEFAULT '';
ALTER TABLE authorizations ADD COLUMN subdomains INTEGER NOT NULL DEFAULT 0;
