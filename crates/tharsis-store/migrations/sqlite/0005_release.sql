-- Subscriptions that an admin lets go again without all that was held: first the owner ends, in chunks, what is not to go
-- out, then it goes on. Until then the subscription stays held.
CREATE TABLE tharsis_release (
    subscription INTEGER PRIMARY KEY,
    -- What goes out of what was held: the latest for each recipient, or nothing.
    keeps TEXT NOT NULL CHECK (keeps IN ('latest', 'none')),
    -- What was routed later goes out in any case.
    last_event INTEGER NOT NULL,
    -- First the latest events are gathered, then the others ended; what was gathered is forgotten, and it goes on.
    phase TEXT NOT NULL CHECK (phase IN ('gather', 'sift', 'forget', 'open')),
    -- The last row that was looked at.
    cursor_lane INTEGER NOT NULL DEFAULT -1,
    cursor_due_at INTEGER NOT NULL DEFAULT 0,
    cursor_event INTEGER NOT NULL DEFAULT 0,
    asked_at INTEGER NOT NULL
) STRICT;

-- The latest of what was held for each recipient, as far as it is gathered.
CREATE TABLE tharsis_latest (
    subscription INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (subscription, recipient)
) STRICT, WITHOUT ROWID;
