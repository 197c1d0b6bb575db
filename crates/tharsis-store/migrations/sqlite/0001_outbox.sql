-- The registry and the outbox of Tharsis in one SQLite file. All names begin with tharsis_, for the file may be yours.
-- Instants are whole milliseconds since 1970-01-01T00:00:00Z by the database's clock; ids of 16 bytes are UUIDs.
-- There are no foreign keys and there is no status column on the hot tables: a delivery is unfinished exactly as long as
-- its row is in tharsis_delivery, and all else is in tharsis_attempt.

-- Which of these files have been applied.
CREATE TABLE tharsis_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
        DEFAULT (CAST(round(unixepoch('subsec') * 1000) AS INTEGER))
) STRICT;

-- What happened. A row never changes, but for the freezing of a payload that was inserted by plain SQL.
-- The payload stands last, so that the columns before it are read without it.
CREATE TABLE tharsis_event (
    -- The order of publication.
    seq INTEGER PRIMARY KEY,
    -- Its name for ever: a UUIDv7 (RFC 9562, section 5.7), so that the index below grows at its end.
    id BLOB NOT NULL UNIQUE
        DEFAULT (unhex(
            printf('%012x7%03x%04x',
                CAST(round(unixepoch('subsec') * 1000) AS INTEGER),
                random() & 4095,
                32768 | (random() & 16383))
            || hex(randomblob(6))))
        CHECK (length(id) = 16),
    -- length() and GLOB end at a NUL.
    type TEXT NOT NULL
        CHECK (length(type) BETWEEN 1 AND 128 AND octet_length(type) = length(type)
               AND type NOT GLOB '*[^A-Za-z0-9._-]*'),
    -- The tenant on whose behalf: 16 bytes, as unhex(replace('b4aeba4e-a4c0-…', '-', '')) makes them.
    client BLOB NOT NULL CHECK (length(client) = 16),
    campaign TEXT,
    recipient TEXT,
    published_at INTEGER NOT NULL
        DEFAULT (CAST(round(unixepoch('subsec') * 1000) AS INTEGER)),
    -- No attempt before the one, none at or after the other.
    not_before INTEGER,
    expires_at INTEGER,
    -- 1 once the payload is the bytes that every attempt sends; routing sees to the rows that come with 0.
    frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1)),
    -- Why it could not be frozen. Such an event goes to nobody.
    refused_code TEXT,
    refused_field TEXT,
    refused_message TEXT,
    payload TEXT NOT NULL
) STRICT;

-- Serves filters by time: from an instant to the first event since then.
CREATE INDEX tharsis_event_published ON tharsis_event (published_at);

-- Events that are not routed yet. Whoever inserts an event inserts its pointer in the same transaction.
CREATE TABLE tharsis_outbox (
    event INTEGER PRIMARY KEY
) STRICT;

-- Publishing the same again makes no second event. The key is 128 bits of a SHA-256; the payload's digest is kept only
-- beside keys that publishers chose themselves, where another payload is a conflict.
CREATE TABLE tharsis_idempotency (
    key BLOB PRIMARY KEY CHECK (length(key) = 16),
    payload BLOB,
    event INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Publishing as one statement, so that it is whole in whatever transaction it stands: an event, its pointer and its key,
-- or nothing where the key is there already. The payload is frozen. Whoever inserts here reads back afterwards which id the
-- key has.
CREATE VIEW tharsis_publish
    (key, digest, id, type, client, campaign, recipient, not_before, expires_at, payload)
    AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE false;

CREATE TRIGGER tharsis_publish_once INSTEAD OF INSERT ON tharsis_publish
WHEN NOT EXISTS (SELECT 1 FROM tharsis_idempotency WHERE key = new.key)
BEGIN
    INSERT INTO tharsis_event
        (id, type, client, campaign, recipient, not_before, expires_at, frozen, payload)
    VALUES
        (new.id, new.type, new.client, new.campaign, new.recipient, new.not_before, new.expires_at, 1,
         new.payload);
    INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid());
    -- The row just inserted has the event's number for its own.
    INSERT INTO tharsis_idempotency (key, payload, event)
    VALUES (new.key, new.digest, last_insert_rowid());
END;

-- Unfinished deliveries, each where its lane is read: all of one subscription, by due time, then in order of routing.
CREATE TABLE tharsis_delivery (
    subscription INTEGER NOT NULL,
    -- 0 is the live lane.
    lane INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    event INTEGER NOT NULL,
    -- Attempts made, over all replays, and those of the present retry budget.
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    PRIMARY KEY (subscription, lane, due_at, event)
) STRICT, WITHOUT ROWID;

-- One delivery for each pair, and the way from a pair to its row: a success whose row has moved, retry and cancel,
-- replays that must not touch what is unfinished, lists by event. Both ends of it are touched in order of publication,
-- so it stays in memory however long the lanes are.
CREATE UNIQUE INDEX tharsis_delivery_pair ON tharsis_delivery (event, subscription);

-- The history: one row for each request, and one with number 0 for an end without a request.
CREATE TABLE tharsis_attempt (
    event INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    code TEXT NOT NULL,
    status INTEGER,
    -- How the delivery ended with it.
    ended TEXT CHECK (ended IN ('delivered', 'dead', 'expired', 'refused', 'cancelled')),
    -- Where number 0 stands among the others: after the attempt of this number. The newest end counts, by this order
    -- and not by instants, which are of many clocks.
    after INTEGER,
    -- When the next attempt was due.
    due_at INTEGER,
    detail TEXT,
    excerpt BLOB,
    PRIMARY KEY (event, subscription, number)
) STRICT, WITHOUT ROWID;

-- Serves the question what was not delivered, however much was.
CREATE INDEX tharsis_attempt_undelivered ON tharsis_attempt (event, subscription)
    WHERE ended IN ('dead', 'expired', 'refused', 'cancelled');

-- Who wants which events, where. The short number is never used again; rows stay after a removal, for the history.
CREATE TABLE tharsis_subscription (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    client BLOB NOT NULL CHECK (length(client) = 16),
    name TEXT NOT NULL,
    -- The name as it is compared: normalised and folded.
    name_key TEXT NOT NULL,
    url TEXT NOT NULL,
    profile TEXT NOT NULL,
    -- JSON: event types; [] for all that the profile knows.
    events TEXT NOT NULL,
    content_type TEXT NOT NULL,
    timeout_ms INTEGER NOT NULL,
    -- JSON: the delay before each retry, in milliseconds.
    retry TEXT NOT NULL,
    max_in_flight INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Goes up with each change, by people or by a worker, so that nobody replaces what was changed since they read it.
    version INTEGER NOT NULL DEFAULT 1,
    removed_at INTEGER
) STRICT;

CREATE UNIQUE INDEX tharsis_subscription_name ON tharsis_subscription (client, name_key)
    WHERE removed_at IS NULL;

-- What holds a subscription's deliveries; no row where nothing does. Written on transitions only.
CREATE TABLE tharsis_subscription_state (
    subscription INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('paused', 'disabled')),
    reason TEXT,
    since INTEGER NOT NULL
) STRICT;

-- Sealed for its subscription with the key of this id.
CREATE TABLE tharsis_secret (
    subscription INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The keys that secrets are sealed with: the id of each, and something sealed with it that opens under no other. The keys
-- themselves are in a file beside the database. One of them seals; the others did, and are kept for what they sealed.
CREATE TABLE tharsis_key (
    id TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
        DEFAULT (CAST(round(unixepoch('subsec') * 1000) AS INTEGER)),
    retired_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX tharsis_key_sealing ON tharsis_key ((retired_at IS NULL)) WHERE retired_at IS NULL;

-- Goes up with each write to the registry and with each command.
CREATE TABLE tharsis_revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO tharsis_revision (id, revision) VALUES (1, 1);

-- The fence of delivery: the epoch goes up with each change of owner. Who owns is decided by a lock on a sibling file.
CREATE TABLE tharsis_owner (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    worker BLOB,
    since INTEGER
) STRICT;
INSERT INTO tharsis_owner (id, epoch) VALUES (1, 0);

-- What the owner is asked to do to deliveries: 'retry' and 'cancel' one, or end the 'remains' of a removed subscription.
CREATE TABLE tharsis_command (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('retry', 'cancel', 'remains')),
    subscription INTEGER NOT NULL,
    event INTEGER,
    asked_at INTEGER NOT NULL
) STRICT;

-- Makes past deliveries due again, in chunks; cursor and deliveries move in one transaction.
CREATE TABLE tharsis_replay (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    -- JSON; NULL for one that takes the deliveries listed in tharsis_replay_delivery.
    filter TEXT,
    -- The last event that had been published when it was asked for: later ones are not touched.
    last_event INTEGER NOT NULL,
    -- The last pair that was looked at.
    cursor_event INTEGER NOT NULL DEFAULT 0,
    cursor_subscription INTEGER NOT NULL DEFAULT 0,
    examined INTEGER NOT NULL DEFAULT 0,
    replayed INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER
) STRICT;

-- Serves the search for the oldest replay that is not done.
CREATE INDEX tharsis_replay_unfinished ON tharsis_replay (seq) WHERE finished_at IS NULL;

CREATE TABLE tharsis_replay_delivery (
    replay INTEGER NOT NULL,
    event INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    PRIMARY KEY (replay, event, subscription)
) STRICT, WITHOUT ROWID;
