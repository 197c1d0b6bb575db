-- Who may use the HTTP API.

-- A token is shown once, when it is made. What is kept leads from it to its row, and from its row to nobody's token.
CREATE TABLE tharsis_token (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    -- The SHA-256 of its text, by which it is found. Of 256 random bits: nobody guesses what it is of, so it is not salted.
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    -- Its first characters after `tharsis_`, by which people tell it from others.
    prefix TEXT NOT NULL CHECK (length(prefix) = 8),
    name TEXT NOT NULL,
    -- 'publisher', 'viewer', 'operator' or 'admin'. What is none of them is let in by no version of the program that does not
    -- know it, so that there may be others later.
    role TEXT NOT NULL,
    -- The one client that it is for; NULL for all of them.
    client BLOB CHECK (client IS NULL OR length(client) = 16),
    created_at INTEGER NOT NULL,
    -- From then on it lets nobody in; NULL: it does until it is revoked.
    expires_at INTEGER,
    -- Written once a minute at most, so that a request does not wait for the disk because of it.
    used_at INTEGER,
    -- Its row stays, so that people can tell what it was.
    revoked_at INTEGER
) STRICT;
