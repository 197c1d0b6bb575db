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
    Random, SqliteStore, owner,
    value::{Id, corrupt, json},
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
    /// Digest of the payload of an earlier event under an explicit key.
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
        if self
            .payload
            .is_some_and(|first| first != idempotency.payload)
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
async fn commit(store: &SqliteStore, mut turn: Turn, jobs: Vec<Job>) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let events = jobs.iter().flat_map(|job| &job.group.events);
    let written = Written(store);
    let mut found = insert(&mut turn, events, store.0.random).await?.into_iter();
    drop(written);
    for job in jobs {
        let its = found.by_ref().take(job.group.events.len()).collect();
        // Nobody listens where the caller has gone away; the events are durable all the same.
        let _ = job.done.send(its);
    }
    Ok(())
}

/// Notes on drop that something was written, also where nobody waited for how that went: SQLite carries out what it was
/// given. The note comes before the turn ends, and who asks for changes asks in a later one.
struct Written<'a>(&'a SqliteStore);

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.0.wrote();
    }
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

/// What of an event has a fixed length, as the statements cut it out of one argument: 64 bytes.
struct Fixed {
    key: [u8; 16],
    payload: [u8; 16],
    client: [u8; 16],
    id: [u8; 16],
}

/// The rest, as a row of JSON by its places; all payloads stand in one argument, one after the other.
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

/// One statement, so that the file's lock is held for as long as SQLite works on it and no longer.
pub(super) const PUBLISH: &str = "
    INSERT INTO tharsis_publish
        (key, digest, id, type, client, campaign, recipient, not_before, expires_at, payload)
    SELECT substr(?2, r.key * 64 + 1, 16),
           CASE WHEN r.value ->> 5 THEN substr(?2, r.key * 64 + 17, 16) END,
           substr(?2, r.key * 64 + 49, 16),
           r.value ->> 0,
           substr(?2, r.key * 64 + 33, 16),
           r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4,
           CAST(substr(?3, r.value ->> 6, r.value ->> 7) AS TEXT)
    FROM jsonb_each(?1) r";

async fn insert<'a>(
    turn: &mut Turn,
    events: impl Iterator<Item = &'a (Event, Idempotency)> + Clone,
    random: Random,
) -> Result<Vec<Found>, StoreError> {
    let clock = owner::clock(turn.conn()).await?;
    let fixed = fixed(events.clone(), clock, random)?;
    let mut payloads = Vec::new();
    let rows: Vec<Row<'_>> = events
        .map(|(event, key)| row(event, key, &mut payloads))
        .collect();
    let rows = json(&rows)?;
    let packed: Vec<u8> = fixed
        .iter()
        .flat_map(|f| [f.key, f.payload, f.client, f.id])
        .flatten()
        .collect();
    turn.execute(|| {
        sqlx::query(PUBLISH)
            .bind(rows.clone())
            .bind(packed.clone())
            .bind(payloads.clone())
    })
    .await?;

    let mut found: Vec<Found> = fixed
        .iter()
        .map(|fixed| Found {
            id: EventId::from_uuid(Uuid::from_bytes(fixed.id)),
            payload: None,
            duplicate: false,
        })
        .collect();
    for (at, Id(id), payload) in earlier(turn.conn(), &rows, &packed).await? {
        let place = usize::try_from(at).ok().and_then(|at| found.get_mut(at));
        *place.ok_or_else(|| corrupt("an event's place"))? = Found {
            id: EventId::from_uuid(id),
            payload,
            duplicate: true,
        };
    }
    Ok(found)
}

fn fixed<'a>(
    events: impl Iterator<Item = &'a (Event, Idempotency)> + Clone,
    clock: Timestamp,
    random: Random,
) -> Result<Vec<Fixed>, StoreError> {
    let mut randoms = vec![[0; 10]; events.clone().count()];
    random(randoms.as_flattened_mut()).map_err(StoreError::database)?;
    Ok(events
        .zip(randoms)
        .map(|((event, idempotency), random)| Fixed {
            key: idempotency.key,
            payload: idempotency.payload,
            client: *event.client().as_uuid().as_bytes(),
            id: *EventId::new(clock, random).as_uuid().as_bytes(),
        })
        .collect())
}

fn row<'a>(event: &'a Event, idempotency: &Idempotency, payloads: &mut Vec<u8>) -> Row<'a> {
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
}

/// Where a row stands, the event that was published before under its key, and the digest of that one's payload.
type Earlier = (i64, Id, Option<Vec<u8>>);

/// Those whose key has another id than theirs.
pub(super) const EARLIER: &str = "
    SELECT r.key, e.id, i.payload
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_idempotency i ON i.key = substr(?2, r.key * 64 + 1, 16)
    CROSS JOIN tharsis_event e ON e.seq = i.event
    WHERE e.id <> substr(?2, r.key * 64 + 49, 16)";

async fn earlier(
    conn: &mut SqliteConnection,
    rows: &str,
    packed: &[u8],
) -> Result<Vec<Earlier>, StoreError> {
    Ok(sqlx::query_as(EARLIER)
        .bind(rows)
        .bind(packed)
        .fetch_all(conn)
        .await?)
}
