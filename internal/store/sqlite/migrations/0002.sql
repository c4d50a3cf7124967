-- Other chains of the same key, as cross-signed certificates give them: a list
-- of lists like chain.
ALTER TABLE issuers ADD COLUMN alternates TEXT NOT NULL DEFAULT '';
