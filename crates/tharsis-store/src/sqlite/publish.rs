//! Publishing: durable, once, and together with whoever else publishes at the moment.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use sqlx::SqliteConnection;
use tharsis_core::{
    EventId, Invalid, Timestamp,
    event::{Event, Idempotency},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Random, SqliteStore,
    value::{Id, Millis, corrupt, expect_changed, json},
    write::Turn,
};
use crate::{Published, StoreError};

/// What one transaction takes, so that the lock is not held for longer than a few milliseconds.
const EVENTS: usize = 256;
const BYTES: usize = 1024 * 1024;

/// Publishes that wait for the writer. Whoever gets it commits all of them.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<Job>>);

struct Job {
    group: Arc<Group>,
    done: oneshot::Sender<Vec<Found>>,
}

/// Events that go into one transaction, made ready before the lock is taken.
struct Group {
    events: Vec<(Event, Idempotency)>,
    bytes: usize,
}

/// What the database has under the key of an event after it was published.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: EventId,
    /// Digest of the payload under an explicit key.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) duplicate: bool,
}

pub(super) async fn publish(
    store: &SqliteStore,
    events: &[Event],
) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
    let mut published = Vec::with_capacity(events.len());
    for group in groups(events) {
        let group = Arc::new(group);
        let found = publish_group(store, &group).await?;
        published.extend(
            group
                .events
                .iter()
                .zip(found)
                .map(|((_, idempotency), found)| found.judge(idempotency)),
        );
    }
    Ok(published)
}

fn groups(events: &[Event]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for event in events {
        let bytes = event.payload().len();
        let entry = (event.clone(), event.idempotency());
        match groups.last_mut() {
            Some(group) if group.events.len() < EVENTS && group.bytes + bytes <= BYTES => {
                group.events.push(entry);
                group.bytes += bytes;
            }
            _ => groups.push(Group {
                events: vec![entry],
                bytes,
            }),
        }
    }
    groups
}

impl Found {
    pub(super) fn judge(self, idempotency: &Idempotency) -> Result<Published, Invalid> {
        if self.duplicate
            && idempotency.explicit
            && self.payload.as_deref() != Some(&idempotency.payload)
        {
            return Err(Invalid::new(
                "idempotency_conflict",
                "was used for another payload before",
            )
            .at("key")
            .hint("give each event a key of its own, or publish the same bytes again"));
        }
        Ok(Published {
            id: self.id,
            duplicate: self.duplicate,
        })
    }
}

async fn publish_group(store: &SqliteStore, group: &Arc<Group>) -> Result<Vec<Found>, StoreError> {
    'again: loop {
        let (done, mut ours) = oneshot::channel();
        store.0.waiting.push(Job {
            group: Arc::clone(group),
            done,
        });
        loop {
            tokio::select! {
                biased;
                found = &mut ours => match found {
                    Ok(found) => return Ok(found),
                    // Whoever had taken it along failed or was stopped: on our own, then.
                    Err(_) => continue 'again,
                },
                turn = store.0.writer.turn() => {
                    let jobs = store.0.waiting.take();
                    let is_ours = jobs.iter().any(|job| Arc::ptr_eq(&job.group, group));
                    match commit(store, turn, jobs).await {
                        Err(error) if is_ours => return Err(error),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Commits all of these together and tells those who wait for them. When it fails, it has told nobody.
async fn commit(store: &SqliteStore, turn: Turn, jobs: Vec<Job>) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let rows = Rows::of(
        jobs.iter().flat_map(|job| &job.group.events),
        store.0.random,
    )?;
    let mut write = turn.begin().await?;
    let mut found = insert(&mut write, rows).await?.into_iter();
    write.commit().await?;
    store.wrote();
    for job in jobs {
        let its = found.by_ref().take(job.group.events.len()).collect();
        // Nobody listens where the caller has gone away; the events are durable all the same.
        let _ = job.done.send(its);
    }
    Ok(())
}

impl Waiting {
    fn push(&self, job: Job) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(job);
    }

    /// The oldest, as many as one transaction takes; not those whose caller has gone away.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|job| !job.done.is_closed());
        let (mut events, mut bytes) = (0, 0);
        let fit = waiting
            .iter()
            .take_while(|job| {
                events += job.group.events.len();
                bytes += job.group.bytes;
                events <= EVENTS && bytes <= BYTES
            })
            .count();
        let end = fit.max(1).min(waiting.len());
        waiting.drain(..end).collect()
    }
}

/// The arguments of the statements. What has a fixed length stands packed in one argument, what has not in another, and
/// the rest in a row of JSON for each event.
struct Rows {
    json: String,
    fixed: Vec<Fixed>,
    payloads: Vec<u8>,
}

/// As the statements cut it up: 64 bytes for each event.
#[derive(Clone, Copy)]
struct Fixed {
    key: [u8; 16],
    payload: [u8; 16],
    client: [u8; 16],
    /// Made of the database's clock and the random bytes that stand here before.
    id: [u8; 16],
}

/// A row of JSON, by its places.
#[derive(Serialize)]
struct Row<'a>(
    /// 0: the type.
    &'a str,
    /// 1: the campaign.
    Option<&'a str>,
    /// 2: the recipient.
    Option<&'a str>,
    /// 3: not before.
    Option<i64>,
    /// 4: expires at.
    Option<i64>,
    /// 5: whether the key was given.
    bool,
    /// 6: where the payload begins, from 1 on.
    usize,
    /// 7: its length.
    usize,
);

impl Rows {
    fn of<'a>(
        events: impl Iterator<Item = &'a (Event, Idempotency)> + Clone,
        random: Random,
    ) -> Result<Self, StoreError> {
        let mut payloads = Vec::new();
        let rows: Vec<Row<'a>> = events
            .clone()
            .map(|(event, idempotency)| {
                let begin = payloads.len() + 1;
                payloads.extend_from_slice(event.payload());
                Row(
                    event.event_type().as_str(),
                    event.campaign(),
                    event.recipient(),
                    event.not_before().map(Timestamp::as_millis),
                    event.expires_at().map(Timestamp::as_millis),
                    idempotency.explicit,
                    begin,
                    event.payload().len(),
                )
            })
            .collect();
        let mut randoms = vec![[0; 16]; rows.len()];
        random(randoms.as_flattened_mut()).map_err(StoreError::database)?;
        let fixed = events
            .zip(randoms)
            .map(|((event, idempotency), id)| Fixed {
                key: idempotency.key,
                payload: idempotency.payload,
                client: *event.client().as_uuid().as_bytes(),
                id,
            })
            .collect();
        Ok(Self {
            json: json(&rows)?,
            fixed,
            payloads,
        })
    }

    fn name(&mut self, clock: Timestamp) {
        for row in &mut self.fixed {
            let [random @ .., _, _, _, _, _, _] = row.id;
            row.id = *EventId::new(clock, random).as_uuid().as_bytes();
        }
    }

    fn packed(&self) -> Vec<u8> {
        self.fixed
            .iter()
            .flat_map(|row| [row.key, row.payload, row.client, row.id])
            .flatten()
            .collect()
    }
}

pub(super) const LAST: &str = "
    SELECT coalesce(max(seq), 0), CAST(round(unixepoch('subsec') * 1000) AS INTEGER)
    FROM tharsis_event";

/// The first of a key wins its row; the number it wins is the event's.
pub(super) const INSERT_KEYS: &str = "
    INSERT INTO tharsis_idempotency (key, payload, event)
    SELECT substr(?2, r.key * 64 + 1, 16),
           CASE WHEN r.value ->> 5 THEN substr(?2, r.key * 64 + 17, 16) END,
           ?3 + 1 + r.key
    FROM jsonb_each(?1) r
    WHERE true
    ON CONFLICT (key) DO NOTHING";

pub(super) const INSERT_EVENTS: &str = "
    INSERT INTO tharsis_event
        (seq, id, type, client, campaign, recipient, not_before, expires_at, frozen, payload)
    SELECT i.event,
           substr(?2, r.key * 64 + 49, 16),
           r.value ->> 0,
           substr(?2, r.key * 64 + 33, 16),
           r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4,
           1,
           CAST(substr(?4, r.value ->> 6, r.value ->> 7) AS TEXT)
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_idempotency i ON i.key = substr(?2, r.key * 64 + 1, 16)
    WHERE i.event = ?3 + 1 + r.key";

pub(super) const INSERT_POINTERS: &str = "
    INSERT INTO tharsis_outbox (event)
    SELECT seq FROM tharsis_event WHERE seq > ?1";

/// In a transaction that holds the file's lock, so nothing is published between the statements.
async fn insert(conn: &mut SqliteConnection, mut rows: Rows) -> Result<Vec<Found>, StoreError> {
    let (last, Millis(clock)): (i64, Millis) = sqlx::query_as(LAST).fetch_one(&mut *conn).await?;
    rows.name(clock);
    let packed = rows.packed();
    let new = sqlx::query(INSERT_KEYS)
        .bind(&rows.json)
        .bind(&packed)
        .bind(last)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    let events = sqlx::query(INSERT_EVENTS)
        .bind(&rows.json)
        .bind(&packed)
        .bind(last)
        .bind(rows.payloads)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    expect_changed("publish: events", new, events)?;
    let pointers = sqlx::query(INSERT_POINTERS)
        .bind(last)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    expect_changed("publish: pointers", new, pointers)?;

    let mut found: Vec<Found> = rows
        .fixed
        .iter()
        .map(|row| Found {
            id: EventId::from_uuid(Uuid::from_bytes(row.id)),
            payload: None,
            duplicate: false,
        })
        .collect();
    if new == found.len() as u64 {
        return Ok(found);
    }
    for (at, Id(id), payload) in earlier(conn, &rows.json, &packed, last).await? {
        let place = usize::try_from(at).ok().and_then(|at| found.get_mut(at));
        *place.ok_or_else(|| corrupt("an event's place"))? = Found {
            id: EventId::from_uuid(id),
            payload,
            duplicate: true,
        };
    }
    let duplicates = found.iter().filter(|found| found.duplicate).count();
    expect_changed(
        "publish: duplicates",
        found.len() as u64 - new,
        duplicates as u64,
    )?;
    Ok(found)
}

/// Where a row stands, the event that was published before under its key, and the digest of that one's payload.
type Earlier = (i64, Id, Option<Vec<u8>>);

pub(super) const EARLIER: &str = "
    SELECT r.key, e.id, i.payload
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_idempotency i ON i.key = substr(?2, r.key * 64 + 1, 16)
    CROSS JOIN tharsis_event e ON e.seq = i.event
    WHERE i.event <> ?3 + 1 + r.key";

async fn earlier(
    conn: &mut SqliteConnection,
    rows: &str,
    packed: &[u8],
    last: i64,
) -> Result<Vec<Earlier>, StoreError> {
    Ok(sqlx::query_as(EARLIER)
        .bind(rows)
        .bind(packed)
        .bind(last)
        .fetch_all(conn)
        .await?)
}
