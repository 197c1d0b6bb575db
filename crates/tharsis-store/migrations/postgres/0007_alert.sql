-- Who is told what becomes of a subscription, and what is to be told.

ALTER TABLE subscription
    -- Who is told when it fails, and one message for each cause at most this often.
    ADD COLUMN alert_mail text[] NOT NULL DEFAULT '{}',
    ADD COLUMN alert_every_ms bigint NOT NULL DEFAULT 3600000;

-- What was raised, in the transaction in which it happened: one for each message. What happens again before it is told is
-- added to it.
CREATE TABLE alert (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL,
    cause text NOT NULL CHECK (cause IN
        ('subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead', 'address.blocked',
             'delivery.expiring', 'certificate.expiring')),
    raised_at timestamptz(3) NOT NULL,
    since timestamptz(3) NOT NULL,
    -- Percent of the way to suspension.
    stage smallint NOT NULL,
    -- Deliveries that it is about, and the code of the last outcome.
    count bigint NOT NULL,
    code text,
    -- Not before then: it waits for its turn, is being told, or telling it failed so often.
    due_at timestamptz(3) NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    -- Who was told already, while others were not.
    accepted text[] NOT NULL DEFAULT '{}',
    -- It was told, was overtaken before it was, or there was nobody to tell.
    outcome text CHECK (outcome IN ('told', 'moot', 'nobody')),
    ended_at timestamptz(3)
);

CREATE UNIQUE INDEX alert_untold ON alert (subscription, cause) WHERE ended_at IS NULL;
CREATE INDEX alert_of ON alert (subscription, cause, ended_at);
