//! Events that are not routed yet.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use sqlx::{FromRow, Row as _, postgres::PgRow};
use tharsis_core::{ClientId, EventId, event::MAX_PAYLOAD};
use tokio::time::Instant as Now;
use uuid::Uuid;

use super::{
    PostgresStore,
    cursor::{Cursor, Reading},
    owner,
    value::{Instant, corrupt},
};
use crate::{Lease, Named, Pointer, Pointers, SHARDS, Shard, StoreError};

/// How many bytes of payloads one read hands over to be frozen.
const BYTES: usize = 4 * 1024 * 1024;

/// How far this store has come.
#[derive(Default)]
pub(super) struct Read(Mutex<Cursor>);

impl Read {
    fn cursor<T>(&self, change: impl FnOnce(&mut Cursor) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The number of a pointer: it says its shard, too, and so the whole key of its row.
fn number(shard: Shard, seq: i64) -> i64 {
    seq * i64::from(SHARDS) + i64::from(shard.0)
}

/// The key that a pointer's number says.
pub(super) fn key(number: i64) -> (Shard, i64) {
    let shards = i64::from(SHARDS);
    let shard = u8::try_from(number.rem_euclid(shards)).unwrap_or(0);
    (Shard(shard), number.div_euclid(shards))
}

/// It stops as soon as it has enough: so many rows are looked at, and one more of each shard at most.
pub(super) const POINTERS: &str = "
    SELECT r.revision, p.shard, p.seq, p.event, p.client, p.type, p.published_at, p.not_before, p.expires_at, p.size,
           p.frozen, coalesce(pg_sequence_last_value('seq'::regclass), 0), n.campaign, n.recipient
    FROM revision r
    LEFT JOIN LATERAL (
        SELECT o.*
        FROM unnest($1::smallint[], $2::bigint[]) AS s(shard, after)
        CROSS JOIN LATERAL (
            SELECT o.shard, o.seq, o.event, o.client, o.type, o.published_at, o.not_before, o.expires_at, o.size, o.frozen
            FROM outbox o
            WHERE o.shard = s.shard AND o.seq > s.after
            ORDER BY o.seq
            LIMIT $3) o
        LIMIT $4) p ON true
    LEFT JOIN LATERAL (
        SELECT e.campaign, e.recipient
        FROM event e
        WHERE e.id = p.event
          AND ((SELECT EXISTS (SELECT FROM campaign_stop))
               OR p.type IN ('subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead',
                             'address.blocked', 'delivery.expiring', 'certificate.expiring'))
        OFFSET 0) n ON true
    WHERE r.id = 1";

/// A row of the outbox, or none beside the revision.
struct PointerRow {
    revision: i64,
    given: i64,
    pointer: Option<(Shard, Pointer)>,
}

impl<'r> FromRow<'r, PgRow> for PointerRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let shard: Option<i16> = row.try_get(1)?;
        Ok(Self {
            revision: row.try_get(0)?,
            given: row.try_get(11)?,
            pointer: shard.map(|shard| pointer(shard, row)).transpose()?,
        })
    }
}

/// What is not frozen stands there without its text.
fn pointer(shard: i16, row: &PgRow) -> Result<(Shard, Pointer), sqlx::Error> {
    let decode = |error| sqlx::Error::Decode(Box::new(error));
    let shard = Shard(u8::try_from(shard).map_err(decode)?);
    let event: Uuid = row.try_get(3)?;
    let client: Uuid = row.try_get(4)?;
    let event_type: &str = row.try_get(5)?;
    let Instant(published_at) = row.try_get(6)?;
    let not_before: Option<Instant> = row.try_get(7)?;
    let expires_at: Option<Instant> = row.try_get(8)?;
    let size: i32 = row.try_get(9)?;
    let frozen: bool = row.try_get(10)?;
    let pointer = Pointer {
        seq: number(shard, row.try_get(2)?),
        event: EventId::from_uuid(event),
        client: ClientId::from_uuid(client),
        event_type: event_type.into(),
        published_at,
        not_before: not_before.map(|Instant(at)| at),
        expires_at: expires_at.map(|Instant(at)| at),
        size: usize::try_from(size).map_err(decode)?,
        unfrozen: (!frozen).then(Bytes::new),
        named: Named::of(row.try_get(12)?, row.try_get(13)?),
    };
    Ok((shard, pointer))
}

/// In their order.
const PAYLOADS: &str = "
    SELECT e.payload
    FROM unnest($1::uuid[]) WITH ORDINALITY AS l(event, place)
    CROSS JOIN LATERAL (SELECT e.payload FROM event e WHERE e.id = l.event OFFSET 0) e
    ORDER BY l.place";

pub(super) async fn payloads(
    store: &PostgresStore,
    events: &[EventId],
) -> Result<Vec<Bytes>, StoreError> {
    let ids: Vec<Uuid> = events.iter().map(|id| *id.as_uuid()).collect();
    let payloads: Vec<String> = sqlx::query_scalar(PAYLOADS)
        .bind(ids)
        .fetch_all(&mut *store.0.engine.get().await?)
        .await?;
    if payloads.len() != events.len() {
        return Err(corrupt("an event that is to be routed has no payload"));
    }
    Ok(payloads.into_iter().map(Bytes::from).collect())
}

pub(super) async fn pointers(
    store: &PostgresStore,
    lease: &Lease,
    limit: u32,
) -> Result<Pointers, StoreError> {
    owner::check(store, lease)?;
    let read = &store.0.read;
    // What is waited for a connection does not count as reading.
    let mut conn = store.0.engine.get().await?;
    let reading = read.cursor(|cursor| cursor.reading(lease.shards, limit, Now::now()));
    let rows: Vec<PointerRow> = sqlx::query_as(POINTERS)
        .bind(&reading.shards)
        .bind(&reading.after)
        .bind(reading.part)
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
    let (revision, given) = rows
        .first()
        .map(|row| (row.revision, row.given))
        .ok_or_else(|| corrupt("no revision"))?;
    let mut events: Vec<Pointer> = rows
        .into_iter()
        .filter_map(|row| row.pointer)
        .map(|(_, pointer)| pointer)
        .collect();
    let found = events.len();
    events.truncate(fit(&events));
    let is_cut = events.len() < found || u32::try_from(found).is_ok_and(|found| found >= limit);
    let keys: Vec<(Shard, i64)> = events.iter().map(|p| key(p.seq)).collect();
    read.cursor(|cursor| cursor.read(&reading, &keys, is_cut, given, Now::now()));
    // Each shard's are in order as it is.
    events.sort_by_key(|pointer| pointer.seq);
    read_unfrozen(&mut conn, &mut events).await?;
    Ok(Pointers { revision, events })
}

fn is_wanted(pointer: &Pointer) -> bool {
    pointer.unfrozen.is_some() && pointer.size <= MAX_PAYLOAD
}

/// As many pointers as there is room for their texts. The others stay for the next read.
fn fit(events: &[Pointer]) -> usize {
    let mut bytes = 0;
    events
        .iter()
        .take_while(|pointer| {
            bytes += if is_wanted(pointer) { pointer.size } else { 0 };
            bytes <= BYTES
        })
        .count()
}

pub(super) const UNFROZEN: &str = "
    SELECT e.id, e.payload
    FROM unnest($1::uuid[]) AS g(id)
    CROSS JOIN LATERAL (SELECT e.id, e.payload FROM event e WHERE e.id = g.id OFFSET 0) e";

/// Reads the texts of what is not frozen.
async fn read_unfrozen(
    conn: &mut sqlx::PgConnection,
    events: &mut Vec<Pointer>,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = events
        .iter()
        .filter(|pointer| is_wanted(pointer))
        .map(|pointer| *pointer.event.as_uuid())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let texts: Vec<(Uuid, String)> = sqlx::query_as(UNFROZEN).bind(&ids).fetch_all(conn).await?;
    let mut texts: HashMap<Uuid, String> = texts.into_iter().collect();
    // One that has gone meanwhile is nobody's any more.
    events.retain_mut(|pointer| {
        if is_wanted(pointer) {
            pointer.unfrozen = texts.remove(pointer.event.as_uuid()).map(Bytes::from);
            return pointer.unfrozen.is_some();
        }
        true
    });
    Ok(())
}

/// These are routed.
pub(super) fn routed(store: &PostgresStore, numbers: impl Iterator<Item = i64>) {
    let keys: Vec<(Shard, i64)> = numbers.map(key).collect();
    let read = &store.0.read;
    read.cursor(|cursor| cursor.routed(&keys, Now::now()));
}

/// The first pointer of each shard, if it has one.
pub(super) const LOOK: &str = "
    SELECT r.revision, ARRAY(
        SELECT o.seq * 64 + o.shard
        FROM unnest($1::smallint[], $2::bigint[]) AS s(shard, after)
        CROSS JOIN LATERAL (
            SELECT o.shard, o.seq
            FROM outbox o
            WHERE o.shard = s.shard AND o.seq > s.after
            ORDER BY o.seq
            LIMIT 1) o), coalesce(pg_sequence_last_value('seq'::regclass), 0)
    FROM revision r
    WHERE r.id = 1";

/// The registry's revision, and whether something is to be routed.
pub(super) async fn look(store: &PostgresStore, lease: &Lease) -> Result<(i64, bool), StoreError> {
    let read = &store.0.read;
    let mut conn = store.0.engine.get().await?;
    let reading: Reading = read.cursor(|cursor| cursor.reading(lease.shards, 1, Now::now()));
    let (revision, first, given): (i64, Vec<i64>, i64) = sqlx::query_as(LOOK)
        .bind(&reading.shards)
        .bind(&reading.after)
        .fetch_one(&mut *conn)
        .await?;
    let found: Vec<(Shard, i64)> = first.into_iter().map(key).collect();
    read.cursor(|cursor| cursor.looked(&reading, &found, given, Now::now()));
    Ok((revision, !found.is_empty()))
}

#[cfg(test)]
mod tests {
    use tharsis_core::alert::Cause;

    use super::*;

    #[test]
    fn whom_an_event_of_ours_is_about_is_always_read() {
        for cause in Cause::ALL {
            let literal = format!("'{}'", cause.as_str());
            assert!(POINTERS.contains(&literal), "{literal}");
        }
    }

    #[test]
    fn a_number_says_the_key_of_its_row() {
        for shard in 0..SHARDS {
            for seq in [1, 2, 77, 1 << 40] {
                assert_eq!(key(number(Shard(shard), seq)), (Shard(shard), seq));
            }
        }
        assert!(
            number(Shard(63), 1) < number(Shard(0), 2),
            "in order of publication"
        );
    }
}
