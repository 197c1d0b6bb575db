//! From pointers to deliveries.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use tharsis_core::{ClientId, EventId, Timestamp, event::MAX_PAYLOAD};

use super::{
    SqliteStore, owner,
    value::{corrupt, count, hex, json, uuid},
};
use crate::{
    Lease, Named, Pointer, Pointers, Routed, StoreError,
    failpoint::{self, Failpoint, reached},
};

/// How many bytes of payloads one read hands over to be frozen.
const BYTES: usize = 4 * 1024 * 1024;

/// All of them as one row: rows are handed from SQLite's thread one by one, which costs more than the rows themselves.
pub(super) const POINTERS: &str = "
    SELECT r.revision, (
        SELECT json_group_array(json_array(
                   seq, hex(id), hex(client), type, published_at, not_before, expires_at, size, frozen, campaign,
                   recipient))
        FROM (
            SELECT e.seq, e.id, e.client, e.type, e.published_at, e.not_before, e.expires_at,
                   octet_length(e.payload) AS size, e.frozen,
                   CASE WHEN EXISTS (SELECT 1 FROM tharsis_campaign_stop) THEN e.campaign END AS campaign,
                   CASE WHEN EXISTS (SELECT 1 FROM tharsis_campaign_stop) OR e.type IN (
                            'subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead',
                            'address.blocked', 'delivery.expiring', 'certificate.expiring')
                        THEN e.recipient END AS recipient
            FROM tharsis_outbox o
            CROSS JOIN tharsis_event e ON e.seq = o.event
            ORDER BY o.event
            LIMIT ?1))
    FROM tharsis_revision r
    WHERE r.id = 1";

/// A pointer as the statement writes it, by its places.
#[derive(Deserialize)]
struct PointerRow<'a>(
    i64,
    &'a str,
    &'a str,
    #[serde(borrow)] Cow<'a, str>,
    i64,
    Option<i64>,
    Option<i64>,
    usize,
    u8,
    Option<Box<str>>,
    Option<Box<str>>,
);

impl PointerRow<'_> {
    /// What is not frozen stands there without its text.
    fn read(self) -> Result<Pointer, StoreError> {
        let Self(
            seq,
            id,
            client,
            event_type,
            published_at,
            not_before,
            expires_at,
            size,
            frozen,
            campaign,
            recipient,
        ) = self;
        Ok(Pointer {
            seq,
            event: EventId::from_uuid(uuid(id)?),
            client: ClientId::from_uuid(uuid(client)?),
            event_type: event_type.into(),
            published_at: Timestamp::from_millis(published_at),
            not_before: not_before.map(Timestamp::from_millis),
            expires_at: expires_at.map(Timestamp::from_millis),
            size,
            unfrozen: (frozen == 0).then(Bytes::new),
            named: Named::of(campaign, recipient),
        })
    }
}

pub(super) async fn pointers(
    store: &SqliteStore,
    lease: &Lease,
    limit: u32,
) -> Result<Pointers, StoreError> {
    store.0.owner.check(lease)?;
    // Of nothing there is none, but the revision is asked for all the same.
    let limit = if lease.shards.is_empty() { 0 } else { limit };
    let (revision, rows): (i64, String) = sqlx::query_as(POINTERS)
        .bind(limit)
        .fetch_one(&store.0.reads)
        .await?;
    let rows: Vec<PointerRow<'_>> = serde_json::from_str(&rows).map_err(corrupt)?;
    let mut events = rows
        .into_iter()
        .map(PointerRow::read)
        .collect::<Result<Vec<_>, _>>()?;
    read_unfrozen(store, &mut events).await?;
    Ok(Pointers { revision, events })
}

/// Reads the texts of what is not frozen, of as many pointers as there is room for. The others stay for the next read.
async fn read_unfrozen(store: &SqliteStore, events: &mut Vec<Pointer>) -> Result<(), StoreError> {
    let wanted = |p: &Pointer| p.unfrozen.is_some() && p.size <= MAX_PAYLOAD;
    let mut bytes = 0;
    let fit = events
        .iter()
        .take_while(|p| {
            bytes += if wanted(p) { p.size } else { 0 };
            bytes <= BYTES
        })
        .count();
    events.truncate(fit);
    let seqs: Vec<i64> = events.iter().filter(|p| wanted(p)).map(|p| p.seq).collect();
    if seqs.is_empty() {
        return Ok(());
    }
    let texts: Vec<(i64, Vec<u8>)> = sqlx::query_as(UNFROZEN)
        .bind(json(&seqs)?)
        .fetch_all(&store.0.reads)
        .await?;
    let mut texts: HashMap<i64, Vec<u8>> = texts.into_iter().collect();
    // One that has gone meanwhile is nobody's any more.
    events.retain_mut(|p| {
        if wanted(p) {
            p.unfrozen = texts.remove(&p.seq).map(Bytes::from);
            return p.unfrozen.is_some();
        }
        true
    });
    Ok(())
}

pub(super) const UNFROZEN: &str = "
    SELECT e.seq, CAST(e.payload AS BLOB)
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_event e ON e.seq = r.value";

/// In their order.
const PAYLOADS: &str = "
    SELECT e.payload
    FROM json_each(?1) l
    CROSS JOIN tharsis_event e ON e.id = unhex(l.value)
    ORDER BY l.key";

pub(super) async fn payloads(
    store: &SqliteStore,
    events: &[EventId],
) -> Result<Vec<Bytes>, StoreError> {
    let ids: Vec<String> = (events.iter())
        .map(|id| hex(id.as_uuid().as_bytes()))
        .collect();
    let payloads: Vec<String> = sqlx::query_scalar(PAYLOADS)
        .bind(json(&ids)?)
        .fetch_all(&store.0.reads)
        .await?;
    if payloads.len() != events.len() {
        return Err(corrupt("an event that is to be routed has no payload"));
    }
    Ok(payloads.into_iter().map(Bytes::from).collect())
}

pub(super) async fn route(
    store: &SqliteStore,
    lease: &Lease,
    routed: &[Routed],
) -> Result<(), StoreError> {
    store.0.owner.check(lease)?;
    if lease.shards.is_empty() {
        return Ok(());
    }
    let pointers: Vec<i64> = routed.iter().map(|r| r.seq).collect();
    let (deliveries, ends) = rows(routed);
    let expected = count(deliveries.iter());
    let (pointers, deliveries) = (json(&pointers)?, json(&deliveries)?);

    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let unfrozen = count(routed.iter().filter(|r| r.frozen.is_some()));
    let settled = freeze(&mut write, routed).await? + refuse(&mut write, routed).await?;
    // Where some event is not as it was read, each is looked at. Nobody gets one that is not frozen.
    let all_settled = settled == unfrozen;
    let inserted = insert_deliveries(&mut write, &deliveries, all_settled).await?;
    if inserted != expected {
        end_for_removed(&mut write, &deliveries).await?;
    }
    if !ends.is_empty() {
        insert_ends(&mut write, &json(&ends)?).await?;
    }
    reached(Failpoint::RouteDelivered);
    // Last: the statements above take only what still has its pointer.
    sqlx::query(TAKE_POINTERS)
        .bind(pointers)
        .bind(all_settled)
        .execute(&mut *write)
        .await?;
    write.commit(failpoint::ROUTE).await
}

/// An event that was changed since it was read, and is neither frozen nor refused, is read and routed again.
pub(super) const TAKE_POINTERS: &str = "
    DELETE FROM tharsis_outbox
    WHERE event IN (SELECT value FROM jsonb_each(?1))
      AND (?2 OR NOT EXISTS (
          SELECT 1 FROM tharsis_event e WHERE e.seq = event AND e.frozen = 0 AND e.refused_code IS NULL))";

/// `[event, subscription, due at]`, and the same with how it ended and the code.
type Delivery = (i64, i64, i64);
type Ended<'a> = (i64, i64, i64, &'a str, &'a str);

fn rows(routed: &[Routed]) -> (Vec<Delivery>, Vec<Ended<'_>>) {
    let (mut deliveries, mut ends) = (Vec::with_capacity(routed.len()), Vec::new());
    for event in routed {
        for to in &event.to {
            let due_at = to.due_at.as_millis();
            match to.ends {
                None => deliveries.push((event.seq, to.subscription, due_at)),
                Some((end, code)) => {
                    ends.push((event.seq, to.subscription, due_at, end.as_str(), code));
                }
            }
        }
    }
    (deliveries, ends)
}

/// A pair that has a delivery, or had one, gets no second one: its pointer was there before.
pub(super) const INSERT_DELIVERIES: &str = "
    INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries)
    SELECT s.seq, 0, r.value ->> 2, o.event, 0, 0
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_outbox o ON o.event = r.value ->> 0
    CROSS JOIN tharsis_subscription s ON s.seq = r.value ->> 1 AND s.removed_at IS NULL
    WHERE NOT EXISTS (
              SELECT 1 FROM tharsis_attempt a WHERE a.event = o.event AND a.subscription = s.seq)
      AND (?2 OR EXISTS (SELECT 1 FROM tharsis_event e WHERE e.seq = o.event AND e.frozen = 1))
    ON CONFLICT DO NOTHING";

async fn insert_deliveries(
    conn: &mut SqliteConnection,
    rows: &str,
    all_settled: bool,
) -> Result<u64, StoreError> {
    Ok(sqlx::query(INSERT_DELIVERIES)
        .bind(rows)
        .bind(all_settled)
        .execute(conn)
        .await?
        .rows_affected())
}

/// A subscription that was removed while its events were being routed: the delivery was promised, so it gets an end.
async fn end_for_removed(conn: &mut SqliteConnection, rows: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_attempt (event, subscription, number, at, duration_us, code, ended, after)
         SELECT o.event, s.seq, 0, s.removed_at, 0, 'subscription_removed', 'cancelled', 0
         FROM jsonb_each(?1) r
         CROSS JOIN tharsis_outbox o ON o.event = r.value ->> 0
         CROSS JOIN tharsis_subscription s ON s.seq = r.value ->> 1 AND s.removed_at IS NOT NULL
         WHERE NOT EXISTS (
                   SELECT 1 FROM tharsis_delivery d WHERE d.event = o.event AND d.subscription = s.seq)
           AND NOT EXISTS (
                   SELECT 1 FROM tharsis_attempt a WHERE a.event = o.event AND a.subscription = s.seq)
         ON CONFLICT DO NOTHING",
    )
    .bind(rows)
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_ends(conn: &mut SqliteConnection, rows: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_attempt (event, subscription, number, at, duration_us, code, ended, after)
         SELECT o.event, r.value ->> 1, 0, r.value ->> 2, 0, r.value ->> 4, r.value ->> 3, 0
         FROM jsonb_each(?1) r
         CROSS JOIN tharsis_outbox o ON o.event = r.value ->> 0
         WHERE NOT EXISTS (
                   SELECT 1 FROM tharsis_delivery d
                   WHERE d.event = o.event AND d.subscription = r.value ->> 1)
           AND NOT EXISTS (
                   SELECT 1 FROM tharsis_attempt a
                   WHERE a.event = o.event AND a.subscription = r.value ->> 1)
         ON CONFLICT DO NOTHING",
    )
    .bind(rows)
    .execute(conn)
    .await?;
    Ok(())
}

/// A frozen event as the statement reads it, by its places; the payloads stand in one argument after the other.
#[derive(Serialize)]
struct Frozen<'a>(
    /// 0: the event.
    i64,
    /// 1: its type.
    &'a str,
    /// 2: the client.
    String,
    /// 3: the campaign.
    Option<&'a str>,
    /// 4: the recipient.
    Option<&'a str>,
    /// 5: not before.
    Option<i64>,
    /// 6: expires at.
    Option<i64>,
    /// 7: where the payload begins, from 1 on.
    usize,
    /// 8: its length.
    usize,
);

/// What the publisher gave in columns goes before what the payload says, and of two expiries the earlier counts.
pub(super) const FREEZE: &str = "
    UPDATE tharsis_event AS e
    SET frozen = 1,
        campaign = coalesce(e.campaign, r.value ->> 3),
        recipient = coalesce(e.recipient, r.value ->> 4),
        not_before = coalesce(e.not_before, r.value ->> 5),
        expires_at = min(coalesce(e.expires_at, r.value ->> 6), coalesce(r.value ->> 6, e.expires_at)),
        payload = CAST(substr(?2, r.value ->> 7, r.value ->> 8) AS TEXT)
    FROM jsonb_each(?1) r
    WHERE e.seq = r.value ->> 0
      AND e.type = r.value ->> 1
      AND e.client = unhex(r.value ->> 2)
      AND e.frozen = 0
      AND e.refused_code IS NULL";

/// Returns how many rows it changed.
async fn freeze(conn: &mut SqliteConnection, routed: &[Routed]) -> Result<u64, StoreError> {
    let mut payloads = Vec::new();
    let rows: Vec<Frozen<'_>> = routed
        .iter()
        .filter_map(|r| Some((r.seq, r.frozen.as_ref()?.as_deref().ok()?)))
        .map(|(seq, event)| {
            let begin = payloads.len() + 1;
            payloads.extend_from_slice(event.payload());
            Frozen(
                seq,
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
    if rows.is_empty() {
        return Ok(0);
    }
    Ok(sqlx::query(FREEZE)
        .bind(json(&rows)?)
        .bind(payloads)
        .execute(conn)
        .await?
        .rows_affected())
}

pub(super) const REFUSE: &str = "
    UPDATE tharsis_event AS e
    SET refused_code = r.value ->> 1,
        refused_field = r.value ->> 2,
        refused_message = r.value ->> 3
    FROM jsonb_each(?1) r
    WHERE e.seq = r.value ->> 0
      AND e.frozen = 0
      AND e.refused_code IS NULL";

/// Returns how many rows it changed.
async fn refuse(conn: &mut SqliteConnection, routed: &[Routed]) -> Result<u64, StoreError> {
    let rows: Vec<(i64, &str, Option<&str>, &str)> = routed
        .iter()
        .filter_map(|r| Some((r.seq, r.frozen.as_ref()?.as_ref().err()?)))
        .map(|(seq, why)| (seq, why.code, why.field.as_deref(), &*why.message))
        .collect();
    if rows.is_empty() {
        return Ok(0);
    }
    Ok(sqlx::query(REFUSE)
        .bind(json(&rows)?)
        .execute(conn)
        .await?
        .rows_affected())
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
}
