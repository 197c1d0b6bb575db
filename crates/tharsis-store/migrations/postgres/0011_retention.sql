-- What is kept no longer.

-- Leads to attempts of a time: they come in the order of their instants, about.
CREATE INDEX attempt_at ON attempt USING brin (at) WITH (autosummarize = on);

-- Up to when answers of receivers are forgotten.
CREATE TABLE retention (
    id smallint PRIMARY KEY CHECK (id = 1),
    excerpts_to timestamptz(3) NOT NULL
);

-- Events that were erased a short while ago: what comes in for them is forgotten, too.
CREATE TABLE erased (
    event uuid PRIMARY KEY,
    at timestamptz(3) NOT NULL,
    -- Its key may be there still.
    has_key boolean NOT NULL DEFAULT true
);

-- Clients of which no more is taken: as much waits as may. It is looked at, and written down again, before it counts no more.
-- Publishing looks here.
CREATE TABLE full_backlog (
    client uuid PRIMARY KEY,
    since timestamptz(3) NOT NULL,
    until timestamptz(3) NOT NULL
);
