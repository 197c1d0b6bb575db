-- What a subscription may say beyond Mars: limits of its own, what its profile asks for, which fields of a payload it
-- wants, which events of a type; headers of its own, and secrets that sign beside the one that replaced them. And which
-- replay a delivery is of.

-- NULL stands for what the profile says.
ALTER TABLE tharsis_subscription ADD COLUMN payload_limit INTEGER;
ALTER TABLE tharsis_subscription ADD COLUMN batch_items INTEGER;
ALTER TABLE tharsis_subscription ADD COLUMN linger_ms INTEGER;
-- JSON: an object of strings.
ALTER TABLE tharsis_subscription ADD COLUMN profile_settings TEXT NOT NULL DEFAULT '{}';
-- JSON: paths; [] for all.
ALTER TABLE tharsis_subscription ADD COLUMN fields TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tharsis_subscription ADD COLUMN filter TEXT;
ALTER TABLE tharsis_subscription ADD COLUMN traceparent INTEGER NOT NULL DEFAULT 0 CHECK (traceparent IN (0, 1));

-- Headers of its own, in the order of their places. A value is sealed for its subscription and its name.
CREATE TABLE tharsis_header (
    subscription INTEGER NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (subscription, place)
) STRICT, WITHOUT ROWID;

-- Secrets that were replaced and sign beside the newest until then, sealed as they were.
CREATE TABLE tharsis_retiring_secret (
    subscription INTEGER NOT NULL,
    until INTEGER NOT NULL,
    key TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

CREATE INDEX tharsis_retiring_secret_of ON tharsis_retiring_secret (subscription);

-- Whether what it makes due again goes out under idempotency values of its own.
ALTER TABLE tharsis_replay ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0 CHECK (fresh IN (0, 1));
-- The replay that made it due; 0 where routing did.
ALTER TABLE tharsis_delivery ADD COLUMN replay INTEGER NOT NULL DEFAULT 0;
