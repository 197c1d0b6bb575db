-- How the receivers of subscriptions do, and what is held because of that. What held deliveries as 'disabled' is called
-- 'suspended' from now on.

ALTER TABLE tharsis_subscription_state RENAME TO tharsis_subscription_state_before;
-- What holds a subscription's deliveries; no row where nothing does. Written on transitions only.
CREATE TABLE tharsis_subscription_state (
    subscription INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('paused', 'suspended')),
    reason TEXT,
    since INTEGER NOT NULL
) STRICT;
INSERT INTO tharsis_subscription_state (subscription, state, reason, since)
SELECT subscription, CASE state WHEN 'disabled' THEN 'suspended' ELSE state END, reason, since
FROM tharsis_subscription_state_before;
DROP TABLE tharsis_subscription_state_before;

-- So many requests in a row that fail open its breaker; 0 for never. A receiver that fails for so long suspends it; 0 for
-- never.
ALTER TABLE tharsis_subscription ADD COLUMN breaker INTEGER NOT NULL DEFAULT 20;
ALTER TABLE tharsis_subscription ADD COLUMN suspend_after_ms INTEGER NOT NULL DEFAULT 432000000;
-- For how long a delivery may wait for its retries, all of them together; NULL for as long as they take.
ALTER TABLE tharsis_subscription ADD COLUMN retry_window_ms INTEGER;
-- How long it has waited so, in milliseconds.
ALTER TABLE tharsis_delivery ADD COLUMN waited INTEGER NOT NULL DEFAULT 0;

-- How the receiver of a subscription does; no row as long as it has always been healthy. Written on transitions only.
CREATE TABLE tharsis_subscription_health (
    subscription INTEGER PRIMARY KEY,
    condition TEXT NOT NULL
        CHECK (condition IN ('healthy', 'throttled', 'open', 'half_open', 'suspended')),
    since INTEGER NOT NULL,
    -- The code of the outcome that brought it there.
    cause TEXT,
    -- The first failure since its last success.
    failing_since INTEGER,
    -- When a probe is due, and how many have failed in a row.
    probe_at INTEGER,
    probes INTEGER NOT NULL DEFAULT 0,
    -- Goes up with each transition, so that neither its owner nor an admin overwrites what the other has just written.
    version INTEGER NOT NULL
) STRICT;

-- What it has been through.
CREATE TABLE tharsis_transition (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription INTEGER NOT NULL,
    at INTEGER NOT NULL,
    became TEXT NOT NULL CHECK (became IN ('healthy', 'throttled', 'open', 'half_open', 'suspended')),
    cause TEXT
) STRICT;

CREATE INDEX tharsis_transition_of ON tharsis_transition (subscription, seq);
