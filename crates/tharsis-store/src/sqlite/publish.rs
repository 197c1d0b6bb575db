//! Publishing: durable, once, and together with whoever else publishes at the moment.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use sqlx::SqliteConnection;
use tharsis_core::{
    EventId, Invalid, Timestamp,
    event::{Event, Idempotency},
};
use tokio::sync::oneshot;

use super::{
    SqliteStore,
    value::{Id, corrupt, expect_changed, hex, json},
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
    let rows = Rows::of(jobs.iter().flat_map(|job| &job.group.events))?;
    let mut write = turn.begin().await?;
    let mut found = insert_rows(&mut write, rows).await?.into_iter();
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

/// The arguments of the statements: a row of JSON for each event, and all payloads one after the other.
struct Rows {
    json: String,
    payloads: Vec<u8>,
    len: usize,
}

/// A row as the statements read it, by its places.
#[derive(Serialize)]
struct Row<'a>(
    /// 0: the key.
    String,
    /// 1: the digest of the payload, under an explicit key.
    Option<String>,
    /// 2: the type.
    &'a str,
    /// 3: the client.
    String,
    /// 4: the campaign.
    Option<&'a str>,
    /// 5: the recipient.
    Option<&'a str>,
    /// 6: not before.
    Option<i64>,
    /// 7: expires at.
    Option<i64>,
    /// 8: where the payload begins, from 1 on.
    usize,
    /// 9: its length.
    usize,
);

impl Rows {
    fn of<'a>(events: impl Iterator<Item = &'a (Event, Idempotency)>) -> Result<Self, StoreError> {
        let mut payloads = Vec::new();
        let rows: Vec<Row<'a>> = events
            .map(|(event, idempotency)| {
                let begin = payloads.len() + 1;
                payloads.extend_from_slice(event.payload());
                Row(
                    hex(&idempotency.key),
                    idempotency.explicit.then(|| hex(&idempotency.payload)),
                    event.event_type().as_str(),
                    hex(event.client().as_uuid().as_bytes()),
                    event.campaign(),
                    event.recipient(),
                    event.not_before().map(Timestamp::as_millis),
                    event.expires_at().map(Timestamp::as_millis),
                    begin,
                    event.payload().len(),
                )
            })
            .collect();
        Ok(Self {
            json: json(&rows)?,
            len: rows.len(),
            payloads,
        })
    }
}

/// In a transaction that holds the file's lock, so nothing is published between the statements.
async fn insert_rows(conn: &mut SqliteConnection, rows: Rows) -> Result<Vec<Found>, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM tharsis_event")
        .fetch_one(&mut *conn)
        .await?;
    // The first of a key wins its row; the number it wins is the event's.
    let new = sqlx::query(
        "INSERT INTO tharsis_idempotency (key, payload, event)
         SELECT unhex(r.value ->> 0), unhex(r.value ->> 1), ?2 + 1 + r.key
         FROM jsonb_each(?1) r
         WHERE true
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(&rows.json)
    .bind(last)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    let inserted: Vec<(i64, Id)> = sqlx::query_as(
        "INSERT INTO tharsis_event
             (seq, type, client, campaign, recipient, not_before, expires_at, frozen, payload)
         SELECT i.event, r.value ->> 2, unhex(r.value ->> 3), r.value ->> 4, r.value ->> 5,
                r.value ->> 6, r.value ->> 7, 1,
                CAST(substr(?3, r.value ->> 8, r.value ->> 9) AS TEXT)
         FROM jsonb_each(?1) r
         CROSS JOIN tharsis_idempotency i ON i.key = unhex(r.value ->> 0)
         WHERE i.event = ?2 + 1 + r.key
         RETURNING seq, id",
    )
    .bind(&rows.json)
    .bind(last)
    .bind(rows.payloads)
    .fetch_all(&mut *conn)
    .await?;
    expect_changed("publish: events", inserted.len(), new)?;
    let pointers = sqlx::query(
        "INSERT INTO tharsis_outbox (event)
         SELECT seq FROM tharsis_event WHERE seq > ?1",
    )
    .bind(last)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    expect_changed("publish: pointers", inserted.len(), pointers)?;

    let mut found = vec![None; rows.len];
    for (seq, Id(id)) in &inserted {
        let place = usize::try_from(seq - last - 1)
            .ok()
            .and_then(|at| found.get_mut(at));
        *place.ok_or_else(|| corrupt("an event's number"))? = Some(Found {
            id: EventId::from_uuid(*id),
            payload: None,
            duplicate: false,
        });
    }
    if inserted.len() < rows.len {
        for (at, Id(id), payload) in earlier(conn, &rows.json, last).await? {
            let place = usize::try_from(at).ok().and_then(|at| found.get_mut(at));
            *place.ok_or_else(|| corrupt("an event's place"))? = Some(Found {
                id: EventId::from_uuid(id),
                payload,
                duplicate: true,
            });
        }
    }
    found
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| corrupt("an idempotency key without its event"))
}

/// The events that were published before under keys of these rows.
async fn earlier(
    conn: &mut SqliteConnection,
    rows: &str,
    last: i64,
) -> Result<Vec<(i64, Id, Option<Vec<u8>>)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT r.key, e.id, i.payload
         FROM jsonb_each(?1) r
         CROSS JOIN tharsis_idempotency i ON i.key = unhex(r.value ->> 0)
         CROSS JOIN tharsis_event e ON e.seq = i.event
         WHERE i.event <> ?2 + 1 + r.key",
    )
    .bind(rows)
    .bind(last)
    .fetch_all(conn)
    .await?)
}
