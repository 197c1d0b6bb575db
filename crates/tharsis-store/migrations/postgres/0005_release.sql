-- Subscriptions that an admin lets go again without all that was held: first the owner ends, in chunks, what is not to go
-- out, then it goes on. Until then the subscription stays held.
CREATE TABLE release (
    subscription bigint PRIMARY KEY,
    shard smallint NOT NULL,
    -- What goes out of what was held: the latest for each recipient, or nothing.
    keeps text NOT NULL CHECK (keeps IN ('latest', 'none')),
    -- What was routed later goes out in any case.
    last_seq bigint NOT NULL,
    -- First the latest events are gathered, then the others ended; what was gathered is forgotten, and it goes on.
    phase text NOT NULL CHECK (phase IN ('gather', 'sift', 'forget', 'open')),
    -- The last row that was looked at.
    cursor_lane smallint NOT NULL DEFAULT -1,
    cursor_due_at timestamptz(3) NOT NULL DEFAULT '-infinity',
    cursor_seq bigint NOT NULL DEFAULT 0,
    asked_at timestamptz(3) NOT NULL
);

-- The latest of what was held for each recipient, as far as it is gathered.
CREATE TABLE latest (
    subscription bigint NOT NULL,
    recipient text NOT NULL,
    -- By its id, which begins with when it was published.
    event uuid NOT NULL,
    PRIMARY KEY (subscription, recipient)
);
