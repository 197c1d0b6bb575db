-- Replays at a pace that receivers survive, that can be held and called off; and who asked for what.

-- Requests in so long: '300/m'. NULL for as fast as receivers take it.
ALTER TABLE tharsis_replay ADD COLUMN rate TEXT;
-- The instant that is free for the next one by this rate, in microseconds since 1970; NULL at the beginning.
ALTER TABLE tharsis_replay ADD COLUMN paced_us INTEGER;
-- How many it would be at most, where that was counted before it was asked for.
ALTER TABLE tharsis_replay ADD COLUMN expected INTEGER;
-- The subscription to which goes what it was not delivered yet; NULL where the deliveries are chosen.
ALTER TABLE tharsis_replay ADD COLUMN missing INTEGER;
-- The subscription that gets it in place of its own.
ALTER TABLE tharsis_replay ADD COLUMN to_subscription INTEGER;
-- The client whose it is, and of which alone it takes something; NULL for one of all of them.
ALTER TABLE tharsis_replay ADD COLUMN client BLOB CHECK (client IS NULL OR length(client) = 16);
-- JSON: replays that were not through when it was asked for. What has ended under one of them is not taken once more.
ALTER TABLE tharsis_replay ADD COLUMN beside TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tharsis_replay ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
ALTER TABLE tharsis_replay ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled IN (0, 1));

-- What is still to be looked at of a replay: at first all of it, under subscription 0. One whose receiver has enough for
-- now goes on by itself, so that others need not wait for it.
CREATE TABLE tharsis_replay_part (
    replay INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    -- The last pair that was looked at.
    cursor_event INTEGER NOT NULL,
    cursor_subscription INTEGER NOT NULL,
    -- Not before then.
    look_at INTEGER NOT NULL,
    -- The subscription that has enough for now: until so many at most of those that it has are due.
    waits_for INTEGER,
    enough INTEGER,
    -- What it has is not to be sent yet: it lies aside, waits for others, or is for later.
    stuck INTEGER NOT NULL DEFAULT 0 CHECK (stuck IN (0, 1)),
    done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
    PRIMARY KEY (replay, subscription)
) STRICT, WITHOUT ROWID;

INSERT INTO tharsis_replay_part (replay, subscription, cursor_event, cursor_subscription, look_at)
SELECT seq, 0, cursor_event, cursor_subscription, created_at FROM tharsis_replay WHERE finished_at IS NULL;

ALTER TABLE tharsis_replay DROP COLUMN cursor_event;
ALTER TABLE tharsis_replay DROP COLUMN cursor_subscription;

-- Serves the question how much of a replay a subscription has, and how much of that is due.
CREATE INDEX tharsis_delivery_replay ON tharsis_delivery (replay, subscription, lane, due_at) WHERE replay > 0;

-- The replay under which an end came.
ALTER TABLE tharsis_attempt ADD COLUMN replay INTEGER;

-- Who asked for what, written in the transaction in which it was done.
CREATE TABLE tharsis_audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    -- As the caller names itself.
    actor TEXT NOT NULL,
    -- From where, where it was asked over a network.
    address TEXT,
    -- Whose it is, where it is one client's.
    client BLOB,
    action TEXT NOT NULL,
    -- The id of what it was done to.
    subject TEXT NOT NULL,
    -- JSON: an object of strings and numbers; nothing secret.
    detail TEXT NOT NULL
) STRICT;
