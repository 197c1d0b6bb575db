-- Figures over time.

-- What the worker did in a minute for a client. It counts in memory and adds what it counted every few seconds: so a row grows
-- while its minute lasts, and one that is killed takes with it what it had not added. Nothing is delivered by it.
CREATE TABLE tharsis_minute (
    -- When it began.
    at INTEGER NOT NULL,
    client BLOB NOT NULL CHECK (length(client) = 16),
    attempts INTEGER NOT NULL,
    -- Attempts that did not deliver.
    failed INTEGER NOT NULL,
    -- Deliveries, by how they ended.
    delivered INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    -- Attempts that delivered, by how many milliseconds they took. Columns, for these can be added up.
    up_to_1 INTEGER NOT NULL,
    up_to_2 INTEGER NOT NULL,
    up_to_5 INTEGER NOT NULL,
    up_to_10 INTEGER NOT NULL,
    up_to_20 INTEGER NOT NULL,
    up_to_50 INTEGER NOT NULL,
    up_to_100 INTEGER NOT NULL,
    up_to_200 INTEGER NOT NULL,
    up_to_500 INTEGER NOT NULL,
    up_to_1000 INTEGER NOT NULL,
    up_to_2000 INTEGER NOT NULL,
    up_to_5000 INTEGER NOT NULL,
    up_to_10000 INTEGER NOT NULL,
    up_to_30000 INTEGER NOT NULL,
    beyond INTEGER NOT NULL,
    PRIMARY KEY (at, client)
) STRICT, WITHOUT ROWID;

CREATE INDEX tharsis_minute_of ON tharsis_minute (client, at);

-- The same in a quarter of an hour for a subscription, while there is one: its attempts have no index.
CREATE TABLE tharsis_quarter (
    -- The subscription's number.
    subscription INTEGER NOT NULL,
    at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    up_to_1 INTEGER NOT NULL,
    up_to_2 INTEGER NOT NULL,
    up_to_5 INTEGER NOT NULL,
    up_to_10 INTEGER NOT NULL,
    up_to_20 INTEGER NOT NULL,
    up_to_50 INTEGER NOT NULL,
    up_to_100 INTEGER NOT NULL,
    up_to_200 INTEGER NOT NULL,
    up_to_500 INTEGER NOT NULL,
    up_to_1000 INTEGER NOT NULL,
    up_to_2000 INTEGER NOT NULL,
    up_to_5000 INTEGER NOT NULL,
    up_to_10000 INTEGER NOT NULL,
    up_to_30000 INTEGER NOT NULL,
    beyond INTEGER NOT NULL,
    PRIMARY KEY (subscription, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX tharsis_quarter_at ON tharsis_quarter (at);

-- How much waited in a minute.
CREATE TABLE tharsis_depth (
    at INTEGER PRIMARY KEY,
    -- Events that were not routed, and deliveries that were not finished.
    waiting INTEGER NOT NULL,
    -- How long the first delivery had been due that nothing held.
    overdue_ms INTEGER
) STRICT;
