-- What is kept no longer.

-- Leads to the key of an event that is forgotten.
CREATE INDEX tharsis_idempotency_event ON tharsis_idempotency (event);

-- Events that were erased a short while ago: what comes in for them is forgotten, too.
CREATE TABLE tharsis_erased (
    event INTEGER PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;

-- Clients of which no more is taken: as much waits as may. It is looked at, and written down again, before it counts no more.
CREATE TABLE tharsis_full_backlog (
    client BLOB PRIMARY KEY CHECK (length(client) = 16),
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- However it is published. What was published before comes to no insert, and what we tell of ourselves is taken in any case.
CREATE TRIGGER tharsis_refuse_backlog BEFORE INSERT ON tharsis_event
WHEN EXISTS (SELECT 1 FROM tharsis_full_backlog)
BEGIN
    SELECT RAISE(ABORT, 'backlog_full')
    WHERE new.client IN (
            SELECT client FROM tharsis_full_backlog
            WHERE until > CAST(round(unixepoch('subsec') * 1000) AS INTEGER))
      AND new.type NOT IN (
          'subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead',
          'address.blocked', 'delivery.expiring', 'certificate.expiring');
END;
