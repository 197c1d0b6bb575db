//! Publishing: durable, once, and together with whoever else publishes at the moment.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{AssertSqlSafe, PgConnection};
use tharsis_core::{EventId, Timestamp, event::Event};
use tokio::time::Instant as Now;
use uuid::Uuid;

use super::{
    PostgresStore,
    connect::{Conn, Schema},
    error::{code, explain},
    value::{Instant, corrupt},
};
use crate::{
    Random, StoreError,
    publishing::{Commit, Found, Ready, Waiting},
};

impl Commit for PostgresStore {
    type Turn = Conn;

    fn waiting(&self) -> &Waiting {
        &self.0.waiting
    }

    async fn turn(&self) -> Result<Conn, StoreError> {
        self.0.publishes.get().await
    }

    async fn commit(&self, mut conn: Conn, events: &[&Ready]) -> Result<Vec<Found>, StoreError> {
        let clock = self.0.clock.now(&mut conn).await?;
        let ids = ids(events.len(), clock, self.0.options.random)?;
        insert(&mut conn, &self.0.schema, events, &ids).await
    }

    /// `lock_not_available`: these connections have a `lock_timeout`.
    fn is_locked(error: &StoreError) -> bool {
        let StoreError::Database(source) = error else {
            return false;
        };
        let error = source.downcast_ref::<sqlx::Error>();
        error.and_then(code).as_deref() == Some("55P03")
    }
}

/// Publishes events of our own in a transaction that does more. Returns their ids in their order.
pub(super) async fn publish_own(
    store: &PostgresStore,
    conn: &mut PgConnection,
    events: &[&Event],
) -> Result<Vec<EventId>, StoreError> {
    let clock = store.0.clock.now(conn).await?;
    let ids = ids(events.len(), clock, store.0.options.random)?;
    let ready: Vec<Ready> = (events.iter())
        .map(|event| (Event::clone(event), event.idempotency()))
        .collect();
    let ready: Vec<&Ready> = ready.iter().collect();
    let found = insert(conn, &store.0.schema, &ready, &ids).await?;
    Ok(found.into_iter().map(|found| found.id).collect())
}

/// Ids ascend as the events do: lists are in order of ids.
fn ids(count: usize, clock: Timestamp, random: Random) -> Result<Vec<Uuid>, StoreError> {
    let mut randoms = vec![[0; 10]; count];
    random(randoms.as_flattened_mut()).map_err(StoreError::database)?;
    let mut ids: Vec<Uuid> = randoms
        .into_iter()
        .map(|random| *EventId::new(clock, random).as_uuid())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// One statement, and one round trip. An answer for each event, in their order.
pub(super) async fn insert(
    conn: &mut PgConnection,
    schema: &Schema,
    events: &[&Ready],
    ids: &[Uuid],
) -> Result<Vec<Found>, StoreError> {
    let column = |of: fn(&Event) -> Option<&str>| -> Vec<Option<&str>> {
        events.iter().map(|(event, _)| of(event)).collect()
    };
    let instants = |of: fn(&Event) -> Option<Timestamp>| -> Vec<Option<Instant>> {
        events
            .iter()
            .map(|(event, _)| of(event).map(Instant))
            .collect()
    };
    let keys: Vec<&[u8]> = events
        .iter()
        .map(|(_, known)| known.key.as_slice())
        .collect();
    let digests: Vec<Option<&[u8]>> = events
        .iter()
        .map(|(_, known)| known.explicit.then_some(known.payload.as_slice()))
        .collect();
    let clients: Vec<Uuid> = events
        .iter()
        .map(|(event, _)| *event.client().as_uuid())
        .collect();
    let payloads: Vec<&str> = events
        .iter()
        .map(|(event, _)| std::str::from_utf8(event.payload()))
        .collect::<Result<_, _>>()
        .map_err(StoreError::database)?;
    let rows: Vec<(Uuid, bool, Option<Vec<u8>>)> = sqlx::query_as(AssertSqlSafe(statement(schema)))
        .bind(ids)
        .bind(keys)
        .bind(digests)
        .bind(column(|event| Some(event.event_type().as_str())))
        .bind(clients)
        .bind(column(Event::campaign))
        .bind(column(Event::recipient))
        .bind(instants(Event::not_before))
        .bind(instants(Event::expires_at))
        .bind(payloads)
        .fetch_all(conn)
        .await
        .map_err(explain)?;
    if rows.len() != events.len() {
        let (answers, events) = (rows.len(), events.len());
        return Err(corrupt(format_args!(
            "{answers} answers for {events} events"
        )));
    }
    Ok(rows
        .into_iter()
        .map(|(id, duplicate, payload)| Found {
            id: EventId::from_uuid(id),
            payload,
            duplicate,
        })
        .collect())
}

/// The search path may be the caller's.
fn statement(schema: &Schema) -> String {
    format!(
        "SELECT event, duplicate, digest FROM \"{}\".publish_frozen($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        schema.name()
    )
}

/// The database's clock as this process knows it, asked for now and then.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<(Now, Timestamp)>>);

/// So long one's own count of time does for the instant of an id.
const FRESH: Duration = Duration::from_secs(60);

impl Clock {
    async fn now(&self, conn: &mut PgConnection) -> Result<Timestamp, StoreError> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, clock)) = known
            && at.elapsed() < FRESH
        {
            return Ok(clock + at.elapsed());
        }
        let Instant(clock) = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(conn)
            .await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Now::now(), clock));
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_moment_ascend() {
        let random: Random = |bytes| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from(at * 37 % 256).unwrap_or(0);
            }
            Ok(())
        };
        let ids = ids(100, Timestamp::from_millis(1_700_000_000_000), random).expect("ids");
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
