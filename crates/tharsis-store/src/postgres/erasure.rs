//! Data that somebody wants erased: day by day, chunk by chunk.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use tharsis_core::{ClientId, Timestamp, erasure::Erasure};
use uuid::Uuid;

use super::{
    PostgresStore, audit, command,
    error::is_lock_refused,
    forget::{delete_keys_of_erased, parts},
    partition::{begin, end},
    registry,
    value::Instant,
};
use crate::{By, Erased, Registry as _, StoreError, erasure::CHUNK, failpoint};

/// Erases it, and tells how far it has come.
pub(super) async fn erase(
    store: &PostgresStore,
    whose: &Erasure,
    by: By<'_>,
    tell: &(dyn Fn(&Erased) + Sync),
) -> Result<Erased, StoreError> {
    let now = by.at;
    let mut erased = Erased::default();
    if let Erasure::Client(client) = whose {
        // So that nobody publishes for it from now on, nor looks at what is left of it.
        erase_tokens(store, *client).await?;
        // So that nobody routes to them from now on.
        for subscription in store.list(Some(*client)).await? {
            registry::remove(store, subscription.id, by).await?;
        }
    }
    let mut before: Vec<Uuid> = Vec::new();
    for part in parts(store).await? {
        let mut last = part.start;
        loop {
            let chunk = again_where_locked(|| erase_chunk(store, whose, (last, part.end), now));
            let (chunk, gone) = chunk.await?;
            erased.add(gone);
            again_where_locked(|| erase_late(store, &before, now)).await?;
            let Some(newest) = chunk.last() else { break };
            last = *newest;
            before = chunk;
            tell(&erased);
        }
    }
    delete_keys_of_erased(store).await?;
    again_where_locked(|| erase_late(store, &before, now)).await?;
    close(store, whose, by, &mut erased).await?;
    Ok(erased)
}

async fn erase_tokens(store: &PostgresStore, client: ClientId) -> Result<(), StoreError> {
    let mut write = store.0.lists.begin().await?;
    sqlx::query(TOKENS)
        .bind(client.as_uuid())
        .execute(&mut *write)
        .await?;
    write.commit(failpoint::RETENTION).await
}

pub(super) const NEXT: &str = "
    SELECT id
    FROM event
    WHERE id > $1 AND id <= $2 AND ($3 IS NULL OR recipient = $3) AND ($4 IS NULL OR client = $4)
    ORDER BY id
    LIMIT $5";

/// Whoever settles takes the same rows in an order of his own: where the server ends one of the two, it is tried again.
async fn again_where_locked<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    const TRIES: u32 = 10;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if is_lock_refused(&error) => {}
            done => return done,
        }
    }
    work().await
}

/// Of the events between these. Returns them in their order.
async fn erase_chunk(
    store: &PostgresStore,
    whose: &Erasure,
    (after, to): (Uuid, Uuid),
    now: Timestamp,
) -> Result<(Vec<Uuid>, Erased), StoreError> {
    let mut write = store.0.lists.begin().await?;
    let events: Vec<Uuid> = sqlx::query_scalar(NEXT)
        .bind(after)
        .bind(to)
        .bind(whose.recipient())
        .bind(whose.client().map(|client| *client.as_uuid()))
        .bind(i64::from(CHUNK))
        .fetch_all(&mut *write)
        .await?;
    if events.is_empty() {
        write.roll_back().await?;
        return Ok((events, Erased::default()));
    }
    // What is under way meanwhile is recorded all the same, if it succeeds: its trace goes later. And keys are found by it.
    sqlx::query(
        "INSERT INTO erased (event, at) SELECT unnest($1::uuid[]), clock_timestamp()
         ON CONFLICT (event) DO UPDATE SET at = excluded.at, has_key = true",
    )
    .bind(&events)
    .execute(&mut *write)
    .await?;
    // Whoever routes one of them is waited for here, and its deliveries are seen by the next statement.
    sqlx::query("DELETE FROM outbox WHERE event = ANY ($1)")
        .bind(&events)
        .execute(&mut *write)
        .await?;
    let unfinished = delete_deliveries(&mut write, &events).await?;
    give_up(&mut write, &unfinished, now).await?;
    let attempts = sqlx::query("DELETE FROM attempt WHERE event = ANY ($1)")
        .bind(&events)
        .execute(&mut *write)
        .await?
        .rows_affected();
    sqlx::query("DELETE FROM event WHERE id = ANY ($1)")
        .bind(&events)
        .execute(&mut *write)
        .await?;
    write.commit(failpoint::RETENTION).await?;
    let gone = Erased {
        events: events.len() as u64,
        unfinished: unfinished.len() as u64,
        attempts,
        ..Erased::default()
    };
    Ok((events, gone))
}

/// A row that is moved at this moment is waited for, and then lies where the statement did not look.
async fn delete_deliveries(
    conn: &mut PgConnection,
    events: &[Uuid],
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let mut gone = Vec::new();
    loop {
        let some: Vec<(Uuid, i64)> = sqlx::query_as(
            "DELETE FROM delivery WHERE event = ANY ($1) RETURNING event, subscription",
        )
        .bind(events)
        .fetch_all(&mut *conn)
        .await?;
        gone.extend(some);
        let is_any: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM delivery WHERE event = ANY ($1))")
                .bind(events)
                .fetch_one(&mut *conn)
                .await?;
        if !is_any {
            return Ok(gone);
        }
    }
}

/// What a replay made due of these while they were erased: its rows were there for nobody else to see.
async fn erase_late(
    store: &PostgresStore,
    events: &[Uuid],
    now: Timestamp,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut write = store.0.lists.begin().await?;
    let late = delete_deliveries(&mut write, events).await?;
    give_up(&mut write, &late, now).await?;
    write.commit(failpoint::RETENTION).await
}

/// Has the owners read the lanes of these anew: they may hold some of them in memory. They are gone already, so that is all
/// that comes of it.
async fn give_up(
    conn: &mut PgConnection,
    unfinished: &[(Uuid, i64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let lanes: BTreeSet<i64> = unfinished.iter().map(|pair| pair.1).collect();
    let Some((event, _)) = unfinished.first() else {
        return Ok(());
    };
    for lane in lanes {
        command::insert(conn, "cancel", lane, Some(*event), now).await?;
    }
    registry::bump(conn).await
}

/// What is left beside events, and the proof.
async fn close(
    store: &PostgresStore,
    whose: &Erasure,
    by: By<'_>,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let mut write = store.0.lists.begin().await?;
    match whose {
        Erasure::Recipient { recipient, client } => {
            sqlx::query(
                "DELETE FROM latest
                 WHERE recipient = $1
                   AND ($2 IS NULL OR subscription IN (SELECT seq FROM subscription WHERE client = $2))",
            )
            .bind(recipient)
            .bind(client.map(|client| *client.as_uuid()))
            .execute(&mut *write)
            .await?;
            let stops: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM campaign_stop
                 WHERE recipient = $1 AND ($2 IS NULL OR client = $2)",
            )
            .bind(recipient)
            .bind(client.map(|client| *client.as_uuid()))
            .fetch_one(&mut *write)
            .await?;
            erased.stops = stops.unsigned_abs();
        }
        Erasure::Client(client) => {
            registry::bump(&mut write).await?;
            for statement in OF_CLIENT {
                let gone = sqlx::query(statement)
                    .bind(client.as_uuid())
                    .execute(&mut *write)
                    .await?;
                // The last of them are the subscriptions.
                erased.subscriptions = gone.rows_affected();
            }
        }
    }
    audit::write(&mut write, by, &erased.deed(whose)).await?;
    write.commit(failpoint::RETENTION).await
}

const TOKENS: &str = "DELETE FROM token WHERE client = $1";

const OF_CLIENT: [&str; 9] = [
    "DELETE FROM transition WHERE subscription IN (SELECT seq FROM subscription WHERE client = $1)",
    "DELETE FROM alert WHERE subscription IN (SELECT seq FROM subscription WHERE client = $1)",
    // Who did what to them, and when, stays.
    "UPDATE audit SET detail = '{}' WHERE client = $1 AND action <> 'client.erased'",
    "DELETE FROM full_backlog WHERE client = $1",
    // In the order in which workers add to them.
    "DELETE FROM minute WHERE client = $1 AND at = ANY (ARRAY(
         SELECT at FROM minute WHERE client = $1 ORDER BY at FOR UPDATE))",
    "DELETE FROM quarter
     WHERE subscription IN (SELECT seq FROM subscription WHERE client = $1)
       AND at = ANY (ARRAY(
         SELECT at
         FROM quarter
         WHERE subscription IN (SELECT seq FROM subscription WHERE client = $1)
         ORDER BY subscription, at
         FOR UPDATE))",
    "DELETE FROM campaign_stop WHERE client = $1",
    // Those that were made meanwhile.
    TOKENS,
    "DELETE FROM subscription WHERE client = $1 AND removed_at IS NOT NULL",
];

/// What came in for events that were erased before this instant. Returns whether there may be more.
pub(super) async fn sweep(
    store: &PostgresStore,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const SOME: i64 = 10_000;
    const LATER: &str = "What was erased is swept later";
    let is_any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM erased WHERE at < $1)")
        .bind(Instant(before))
        .fetch_one(&mut *store.0.lists.get().await?)
        .await?;
    if !is_any {
        return Ok(false);
    }
    // Whoever erased them may have been killed before it came to the keys.
    delete_keys_of_erased(store).await?;
    let Some(mut write) = begin(store).await? else {
        return Ok(false);
    };
    let events: Vec<Uuid> = sqlx::query_scalar(
        "SELECT event FROM erased WHERE at < $1 AND NOT has_key ORDER BY at LIMIT $2",
    )
    .bind(Instant(before))
    .bind(SOME)
    .fetch_all(&mut *write)
    .await?;
    if events.is_empty() {
        write.roll_back().await?;
        return Ok(false);
    }
    let late = delete_deliveries(&mut write, &events).await?;
    give_up(&mut write, &late, now).await?;
    let mut done = Ok(());
    for statement in [
        "DELETE FROM attempt WHERE event = ANY ($1)",
        "DELETE FROM erased WHERE event = ANY ($1)",
    ] {
        if done.is_ok() {
            done = (sqlx::query(statement)
                .bind(&events)
                .execute(&mut *write)
                .await)
                .map(drop);
        }
    }
    end(write, done, failpoint::RETENTION, LATER).await
}
