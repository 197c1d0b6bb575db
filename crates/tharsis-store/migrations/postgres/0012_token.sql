-- Who may use the HTTP API.

-- A token is shown once, when it is made. What is kept leads from it to its row, and from its row to nobody's token. As of
-- every table, nothing of it is granted to whoever publishes.
CREATE TABLE token (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    -- The SHA-256 of its text, by which it is found. Of 256 random bits: nobody guesses what it is of, so it is not salted.
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    -- Its first characters after `tharsis_`, by which people tell it from others.
    prefix text NOT NULL CHECK (length(prefix) = 8),
    name text NOT NULL,
    -- 'publisher', 'viewer', 'operator' or 'admin'. What is none of them is let in by no version of the program that does not
    -- know it, so that there may be others later.
    role text NOT NULL,
    -- The one client that it is for; NULL for all of them.
    client uuid,
    created_at timestamptz(3) NOT NULL,
    -- From then on it lets nobody in; NULL: it does until it is revoked.
    expires_at timestamptz(3),
    -- Written once a minute at most, so that a request does not wait for the disk because of it.
    used_at timestamptz(3),
    -- Its row stays, so that people can tell what it was.
    revoked_at timestamptz(3)
);
