-- What a subscription may say beyond Mars: limits of its own, what its profile asks for, which fields of a payload it
-- wants, which events of a type; headers of its own, and secrets that sign beside the one that replaced them. And which
-- replay a delivery is of.

ALTER TABLE subscription
    -- NULL stands for what the profile says.
    ADD COLUMN payload_limit bigint,
    ADD COLUMN batch_items bigint,
    ADD COLUMN linger_ms bigint,
    -- An object of strings.
    ADD COLUMN profile_settings text NOT NULL DEFAULT '{}',
    -- Paths; empty for all.
    ADD COLUMN fields text[] NOT NULL DEFAULT '{}',
    ADD COLUMN filter text,
    ADD COLUMN traceparent boolean NOT NULL DEFAULT false;

-- Headers of its own, in the order of their places. A value is sealed for its subscription and its name.
CREATE TABLE header (
    subscription bigint NOT NULL,
    place integer NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (subscription, place)
);

-- Secrets that were replaced and sign beside the newest until then, sealed as they were.
CREATE TABLE retiring_secret (
    subscription bigint NOT NULL,
    until timestamptz(3) NOT NULL,
    key text NOT NULL,
    sealed bytea NOT NULL
);

CREATE INDEX retiring_secret_of ON retiring_secret (subscription);

-- Whether what it makes due again goes out under idempotency values of its own.
ALTER TABLE replay ADD COLUMN fresh boolean NOT NULL DEFAULT false;
-- The replay that made it due; 0 where routing did.
ALTER TABLE delivery ADD COLUMN replay bigint NOT NULL DEFAULT 0;
