-- Replays at a pace that receivers survive, that can be held and called off; and who asked for what.

ALTER TABLE replay
    -- Requests in so long: '300/m'. NULL for as fast as receivers take it.
    ADD COLUMN rate text,
    -- The instant that is free for the next one by this rate, in microseconds since 1970; NULL at the beginning.
    ADD COLUMN paced_us bigint,
    -- How many it would be at most, where that was counted before it was asked for.
    ADD COLUMN expected bigint,
    -- The subscription to which goes what it was not delivered yet; NULL where the deliveries are chosen.
    ADD COLUMN missing bigint,
    -- The subscription that gets it in place of its own.
    ADD COLUMN to_subscription bigint,
    -- The client whose it is, and of which alone it takes something; NULL for one of all of them.
    ADD COLUMN client uuid,
    -- Replays that were not through when it was asked for: what has ended under one of them is not taken once more.
    ADD COLUMN beside bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN paused boolean NOT NULL DEFAULT false,
    ADD COLUMN cancelled boolean NOT NULL DEFAULT false;

-- What is still to be looked at of a replay: at first all of it, under subscription 0. One whose receiver has enough for
-- now goes on by itself, so that others need not wait for it.
CREATE TABLE replay_part (
    replay bigint NOT NULL,
    subscription bigint NOT NULL,
    -- The last pair that was looked at.
    cursor_event uuid NOT NULL,
    cursor_subscription bigint NOT NULL,
    -- Not before then.
    look_at timestamptz(3) NOT NULL,
    -- The subscription that has enough for now: until so many at most of those that it has are due.
    waits_for bigint,
    enough bigint,
    -- What it has is not to be sent yet: it lies aside, waits for others, or is for later.
    stuck boolean NOT NULL DEFAULT false,
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (replay, subscription)
);

INSERT INTO replay_part (replay, subscription, cursor_event, cursor_subscription, look_at)
SELECT seq, 0, cursor_event, cursor_subscription, created_at FROM replay WHERE finished_at IS NULL;

ALTER TABLE replay
    DROP COLUMN cursor_event,
    DROP COLUMN cursor_subscription;

-- Serves the question how much of a replay a subscription has, and how much of that is due.
CREATE INDEX delivery_replay ON delivery (replay, subscription, lane, due_at) WHERE replay > 0;

-- The replay under which an end came.
ALTER TABLE attempt ADD COLUMN replay bigint;

-- Who asked for what, written in the transaction in which it was done.
CREATE TABLE audit (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz(3) NOT NULL,
    -- As the caller names itself.
    actor text NOT NULL,
    -- From where, where it was asked over a network.
    address text,
    -- Whose it is, where it is one client's.
    client uuid,
    action text NOT NULL,
    -- The id of what it was done to.
    subject text NOT NULL,
    -- An object of strings and numbers; nothing secret.
    detail text NOT NULL
);
