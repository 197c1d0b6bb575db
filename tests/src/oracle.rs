//! What is always true of an outbox while nobody works on it, whatever was killed before.

use crate::place::Reader;

/// What must not be there, and the query that finds it.
type Rule = (&'static str, &'static str);

/// The same on both databases: plain names are the outbox's tables.
const RULES: [Rule; 10] = [
    (
        "a delivery of no event",
        "SELECT d.event || '/' || d.subscription FROM delivery d
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.id = d.event)",
    ),
    (
        "a delivery or an attempt of no subscription",
        "SELECT o.event || '/' || o.subscription
         FROM (SELECT event, subscription FROM delivery UNION SELECT event, subscription FROM attempt) o
         WHERE NOT EXISTS (SELECT 1 FROM subscription s WHERE s.seq = o.subscription)",
    ),
    (
        "a history of no event",
        "SELECT a.event || '/' || a.subscription FROM attempt a
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.id = a.event)",
    ),
    (
        "a history with a gap in its numbers",
        "SELECT a.event || '/' || a.subscription FROM attempt a
         WHERE a.number > 0
         GROUP BY a.event, a.subscription
         HAVING count(*) <> max(a.number)",
    ),
    (
        "a delivery that counts other attempts than its history",
        "SELECT d.event || '/' || d.subscription FROM delivery d
         WHERE d.attempts <> (SELECT coalesce(max(a.number), 0) FROM attempt a
                              WHERE a.event = d.event AND a.subscription = d.subscription)",
    ),
    (
        "an unfinished delivery that has ended, and no replay was worked on",
        "SELECT d.event || '/' || d.subscription FROM delivery d
         WHERE EXISTS (SELECT 1 FROM attempt a
                       WHERE a.event = d.event AND a.subscription = d.subscription AND a.ended IS NOT NULL
                         AND d.attempts = CASE WHEN a.number = 0 THEN a.after ELSE a.number END)
           AND NOT EXISTS (SELECT 1 FROM replay r WHERE r.started_at IS NOT NULL)",
    ),
    (
        "a pointer to no event",
        "SELECT 'event ' || o.event FROM outbox o
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.id = o.event)",
    ),
    (
        "a pointer to an event that was routed, or a second one",
        "SELECT 'event ' || o.event FROM outbox o
         WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.event = o.event)
            OR EXISTS (SELECT 1 FROM attempt a WHERE a.event = o.event)
            OR (SELECT count(*) FROM outbox other WHERE other.event = o.event) > 1",
    ),
    (
        "an event that was routed without being frozen, and is not refused",
        "SELECT 'event ' || e.id FROM event e
         WHERE NOT e.frozen AND e.refused_code IS NULL
           AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.event = e.id)",
    ),
    (
        "a key of no event",
        "SELECT 'event ' || i.event FROM idempotency i
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.id = i.event)",
    ),
];

/// What only PostgreSQL has: shards of several workers, and partitions.
const ON_POSTGRES: [Rule; 2] = [
    (
        "another number of shards than 64",
        "SELECT count(*) || ' shards' FROM shard HAVING count(*) <> 64 OR max(shard) <> 63",
    ),
    (
        "an event or a history in no partition of its time",
        "SELECT 'event ' || id FROM event_default UNION SELECT 'history of ' || event FROM attempt_default",
    ),
];

/// On SQLite each table gets its plain name for this connection, and events the name that other tables know them by.
const PLAIN_NAMES: [&str; 7] = [
    "CREATE TEMP VIEW event AS SELECT seq AS id, frozen, refused_code FROM tharsis_event",
    "CREATE TEMP VIEW outbox AS SELECT * FROM tharsis_outbox",
    "CREATE TEMP VIEW idempotency AS SELECT * FROM tharsis_idempotency",
    "CREATE TEMP VIEW delivery AS SELECT * FROM tharsis_delivery",
    "CREATE TEMP VIEW attempt AS SELECT * FROM tharsis_attempt",
    "CREATE TEMP VIEW subscription AS SELECT * FROM tharsis_subscription",
    "CREATE TEMP VIEW replay AS SELECT * FROM tharsis_replay",
];

/// What of it is not true, a line each; `ok` where all is.
pub(crate) async fn judge(reader: &mut Reader) -> Result<String, sqlx::Error> {
    let mut found = Vec::new();
    let mut rules = RULES.to_vec();
    match reader {
        Reader::Sqlite(_) => {
            found.extend(reader.texts("PRAGMA integrity_check").await?);
            found.retain(|line| line != "ok");
            for view in PLAIN_NAMES {
                reader.run(view).await?;
            }
        }
        Reader::Postgres(_) => rules.extend(ON_POSTGRES),
    }
    for (what, query) in rules {
        let rows = reader.texts(query).await?;
        if let Some(first) = rows.first() {
            found.push(format!("{what}: {first}, {} in all", rows.len()));
        }
    }
    if found.is_empty() {
        return Ok("ok".to_owned());
    }
    Ok(found.join("\n"))
}
