-- How the receivers of subscriptions do, and what is held because of that. What held deliveries as 'disabled' is called
-- 'suspended' from now on.

ALTER TABLE subscription_state DROP CONSTRAINT subscription_state_state_check;
UPDATE subscription_state SET state = 'suspended' WHERE state = 'disabled';
ALTER TABLE subscription_state
    ADD CONSTRAINT subscription_state_state_check CHECK (state IN ('paused', 'suspended'));

ALTER TABLE subscription
    -- So many requests in a row that fail open its breaker; 0 for never.
    ADD COLUMN breaker bigint NOT NULL DEFAULT 20,
    -- A receiver that fails for so long suspends it; 0 for never.
    ADD COLUMN suspend_after_ms bigint NOT NULL DEFAULT 432000000,
    -- For how long a delivery may wait for its retries, all of them together; NULL for as long as they take.
    ADD COLUMN retry_window_ms bigint;
-- How long it has waited so, in milliseconds.
ALTER TABLE delivery ADD COLUMN waited bigint NOT NULL DEFAULT 0;

-- How the receiver of a subscription does; no row as long as it has always been healthy. Written on transitions only.
CREATE TABLE subscription_health (
    subscription bigint PRIMARY KEY,
    condition text NOT NULL CHECK (condition IN ('healthy', 'throttled', 'open', 'half_open', 'suspended')),
    since timestamptz(3) NOT NULL,
    -- The code of the outcome that brought it there.
    cause text,
    -- The first failure since its last success.
    failing_since timestamptz(3),
    -- When a probe is due, and how many have failed in a row.
    probe_at timestamptz(3),
    probes integer NOT NULL DEFAULT 0,
    -- Goes up with each transition, so that neither its owner nor an admin overwrites what the other has just written.
    version bigint NOT NULL
);

-- What it has been through.
CREATE TABLE transition (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL,
    at timestamptz(3) NOT NULL,
    became text NOT NULL CHECK (became IN ('healthy', 'throttled', 'open', 'half_open', 'suspended')),
    cause text
);

CREATE INDEX transition_of ON transition (subscription, seq);
