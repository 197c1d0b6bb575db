-- Figures over time.

-- What workers did in a minute for a client. They count in memory and add what they counted every few seconds: so a row grows
-- while its minute lasts, and one that is killed takes with it what it had not added. Nothing is delivered by it.
CREATE TABLE minute (
    -- When it began.
    at timestamptz(3) NOT NULL,
    client uuid NOT NULL,
    attempts bigint NOT NULL,
    -- Attempts that did not deliver.
    failed bigint NOT NULL,
    -- Deliveries, by how they ended.
    delivered bigint NOT NULL,
    dead bigint NOT NULL,
    expired bigint NOT NULL,
    refused bigint NOT NULL,
    -- Attempts that delivered, by how many milliseconds they took. Columns, for these can be added up.
    up_to_1 bigint NOT NULL,
    up_to_2 bigint NOT NULL,
    up_to_5 bigint NOT NULL,
    up_to_10 bigint NOT NULL,
    up_to_20 bigint NOT NULL,
    up_to_50 bigint NOT NULL,
    up_to_100 bigint NOT NULL,
    up_to_200 bigint NOT NULL,
    up_to_500 bigint NOT NULL,
    up_to_1000 bigint NOT NULL,
    up_to_2000 bigint NOT NULL,
    up_to_5000 bigint NOT NULL,
    up_to_10000 bigint NOT NULL,
    up_to_30000 bigint NOT NULL,
    beyond bigint NOT NULL,
    PRIMARY KEY (at, client)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE INDEX minute_of ON minute (client, at);

-- The same in a quarter of an hour for a subscription, while there is one: its attempts have no index.
CREATE TABLE quarter (
    -- The subscription's number.
    subscription bigint NOT NULL,
    at timestamptz(3) NOT NULL,
    attempts bigint NOT NULL,
    failed bigint NOT NULL,
    delivered bigint NOT NULL,
    dead bigint NOT NULL,
    expired bigint NOT NULL,
    refused bigint NOT NULL,
    up_to_1 bigint NOT NULL,
    up_to_2 bigint NOT NULL,
    up_to_5 bigint NOT NULL,
    up_to_10 bigint NOT NULL,
    up_to_20 bigint NOT NULL,
    up_to_50 bigint NOT NULL,
    up_to_100 bigint NOT NULL,
    up_to_200 bigint NOT NULL,
    up_to_500 bigint NOT NULL,
    up_to_1000 bigint NOT NULL,
    up_to_2000 bigint NOT NULL,
    up_to_5000 bigint NOT NULL,
    up_to_10000 bigint NOT NULL,
    up_to_30000 bigint NOT NULL,
    beyond bigint NOT NULL,
    PRIMARY KEY (subscription, at)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE INDEX quarter_at ON quarter (at);

-- How much waited in a minute, as the first worker saw it who looked.
CREATE TABLE depth (
    at timestamptz(3) PRIMARY KEY,
    -- Events that were not routed, and deliveries that were not finished.
    waiting bigint NOT NULL,
    -- How long the first delivery had been due that nothing held.
    overdue_ms bigint
);
