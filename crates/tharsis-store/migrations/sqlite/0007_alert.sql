-- Who is told what becomes of a subscription, and what is to be told.

-- Who is told when it fails (JSON), and one message for each cause at most this often.
ALTER TABLE tharsis_subscription ADD COLUMN alert_mail TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tharsis_subscription ADD COLUMN alert_every_ms INTEGER NOT NULL DEFAULT 3600000;

-- What was raised, in the transaction in which it happened: one for each message. What happens again before it is told is
-- added to it.
CREATE TABLE tharsis_alert (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription INTEGER NOT NULL,
    cause TEXT NOT NULL CHECK (cause IN
        ('subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead', 'address.blocked',
         'delivery.expiring', 'certificate.expiring')),
    raised_at INTEGER NOT NULL,
    since INTEGER NOT NULL,
    -- Percent of the way to suspension.
    stage INTEGER NOT NULL,
    -- Deliveries that it is about, and the code of the last outcome.
    count INTEGER NOT NULL,
    code TEXT,
    -- Not before then: it waits for its turn, is being told, or telling it failed so often.
    due_at INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    -- JSON: who was told already, while others were not.
    accepted TEXT NOT NULL DEFAULT '[]',
    -- It was told, was overtaken before it was, or there was nobody to tell.
    outcome TEXT CHECK (outcome IN ('told', 'moot', 'nobody')),
    ended_at INTEGER
) STRICT;

CREATE UNIQUE INDEX tharsis_alert_untold ON tharsis_alert (subscription, cause) WHERE ended_at IS NULL;
CREATE INDEX tharsis_alert_of ON tharsis_alert (subscription, cause, ended_at);
