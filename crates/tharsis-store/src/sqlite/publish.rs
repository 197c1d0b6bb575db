//! Publishing: durable, once, and together with whoever else publishes at the moment.

use serde::Serialize;
use sqlx::SqliteConnection;
use tharsis_core::{
    EventId, Timestamp,
    event::{Event, Idempotency},
};
use uuid::Uuid;

use super::{
    Random, SqliteStore, owner,
    value::{Id, corrupt, json},
    write::Turn,
};
use crate::{
    StoreError,
    publishing::{Commit, Found, Ready, Waiting},
};

impl Commit for SqliteStore {
    type Turn = Turn;

    fn waiting(&self) -> &Waiting {
        &self.0.waiting
    }

    async fn turn(&self) -> Result<Turn, StoreError> {
        Ok(self.0.writer.turn().await)
    }

    async fn commit(&self, mut turn: Turn, events: &[&Ready]) -> Result<Vec<Found>, StoreError> {
        let _written = Written(self);
        insert(&mut turn, events, self.0.random).await
    }
}

/// Notes on drop that something was written, also where nobody waited for how that went: SQLite carries out what it was
/// given. The note comes before the turn ends, and who asks for changes asks in a later one.
struct Written<'a>(&'a SqliteStore);

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.0.wrote();
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

async fn insert(
    turn: &mut Turn,
    events: &[&Ready],
    random: Random,
) -> Result<Vec<Found>, StoreError> {
    let clock = owner::clock(turn.conn()).await?;
    let fixed = fixed(events, clock, random)?;
    let mut payloads = Vec::new();
    let rows: Vec<Row<'_>> = events
        .iter()
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

fn fixed(events: &[&Ready], clock: Timestamp, random: Random) -> Result<Vec<Fixed>, StoreError> {
    let mut randoms = vec![[0; 10]; events.len()];
    random(randoms.as_flattened_mut()).map_err(StoreError::database)?;
    Ok(events
        .iter()
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
