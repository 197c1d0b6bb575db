//! What other workers and publishers did: asked for with one cheap statement, and, of deliveries that others wrote into
//! our lanes, told.
//!
//! A notification says of some lanes in which shard they lie, which they are and when their first delivery is due:
//! `shard:subscription:due_at`, with commas between them. Another says `shards`: some were given back. One that is lost
//! costs time only: all lanes are looked at once a minute, and shards with each renewal.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tharsis_core::Timestamp;
use tokio::{runtime::Handle, time::Instant};
use tracing::debug;

use super::{PostgresStore, connect::Schema, due, owner, pointers};
use crate::{Changed, Lease, Pending, SHARDS, Shard, StoreError};

/// PostgreSQL takes no longer name of a channel.
const LONGEST_NAME: usize = 63;

/// What says that shards were given back.
pub(super) const SHARDS_GIVEN: &str = "shards";

/// As many lanes as one notification has room for.
const LANES: usize = 200;

/// How long to do without before trying to listen again.
const PAUSE: Duration = Duration::from_secs(10);

/// How long listening may take to begin.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this store heard and saw.
pub(super) struct Poke {
    pool: PgPool,
    channel: String,
    ear: Mutex<Ear>,
    /// The registry's revision when it was last asked for.
    seen: AtomicI64,
}

#[derive(Default)]
struct Ear {
    listener: Option<Listener>,
    /// When it was last tried to listen.
    tried: Option<Instant>,
}

/// sqlx wants a runtime to end it; where there is none the process ends with it.
struct Listener(Option<PgListener>);

impl Drop for Listener {
    fn drop(&mut self) {
        if Handle::try_current().is_err() {
            std::mem::forget(self.0.take());
        }
    }
}

impl Poke {
    pub(super) fn new(pool: PgPool, schema: &Schema) -> Self {
        let mut channel = format!("tharsis_{}", schema.name());
        // Two schemas that begin alike may then hear of each other's lanes, which does no harm.
        channel.truncate(LONGEST_NAME);
        Self {
            pool,
            channel,
            ear: Mutex::default(),
            seen: AtomicI64::new(i64::MIN),
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Who owns nothing must not listen: the server keeps what a listener does not take.
    pub(super) fn stop(&self) {
        self.ear(|ear| *ear = Ear::default());
    }

    fn ear<T>(&self, change: impl FnOnce(&mut Ear) -> T) -> T {
        change(&mut self.ear.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What may have been done that this worker did not do itself.
pub(super) async fn changed(store: &PostgresStore, lease: &Lease) -> Result<Changed, StoreError> {
    owner::check(store, lease)?;
    let (revision, has_pointers) = pointers::look(store, lease).await?;
    let seen = store.0.poke.seen.swap(revision, Ordering::AcqRel);
    let heard = heard(store, lease).await?;
    Ok(Changed {
        anything: seen != revision || has_pointers,
        shards: heard.given,
        lanes: heard.into_pending(),
    })
}

/// What others said: lanes that they wrote into, and all of this lease where something may have been missed.
async fn heard(store: &PostgresStore, lease: &Lease) -> Result<Heard, StoreError> {
    let poke = &store.0.poke;
    let mut heard = Heard::default();
    let Some(mut listener) = poke.ear(|ear| ear.listener.take()) else {
        heard.see(begin(store, lease).await?);
        return Ok(heard);
    };
    while let Some(PgListenerSays(said)) = listener.next().await {
        match said {
            Some(payload) if heard.hear(&payload).is_some() => {}
            // Anybody can say anything on a channel, so it is not begun anew each time that something odd comes.
            _ => {
                drop(listener);
                heard.see(begin(store, lease).await?);
                return Ok(heard);
            }
        }
    }
    poke.ear(|ear| ear.listener = Some(listener));
    Ok(heard)
}

/// A notification, or the end of the connection.
struct PgListenerSays(Option<String>);

impl Listener {
    /// What is there already, without waiting for more.
    async fn next(&mut self) -> Option<PgListenerSays> {
        let listener = self.0.as_mut()?;
        let mut next = pin!(listener.try_recv());
        match poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
            Poll::Pending => None,
            Poll::Ready(Ok(said)) => Some(PgListenerSays(
                said.map(|notification| notification.payload().to_owned()),
            )),
            Poll::Ready(Err(_)) => Some(PgListenerSays(None)),
        }
    }
}

/// Begins to listen, and then looks at all lanes, for who listens was not told of what was before.
async fn begin(store: &PostgresStore, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
    let poke = &store.0.poke;
    let now = Instant::now();
    let is_due = poke.ear(|ear| {
        let is_due = ear.tried.is_none_or(|tried| now >= tried + PAUSE);
        if is_due {
            ear.tried = Some(now);
        }
        is_due
    });
    if !is_due {
        return Ok(Vec::new());
    }
    match tokio::time::timeout(PATIENCE, listen(&poke.pool, &poke.channel)).await {
        Ok(Ok(listener)) => {
            poke.ear(|ear| ear.listener = Some(listener));
            due::lanes(store, lease).await
        }
        Ok(Err(error)) => {
            debug!(%error, "Nobody tells of deliveries in our lanes: they are looked for");
            Ok(Vec::new())
        }
        Err(_) => Ok(Vec::new()),
    }
}

async fn listen(pool: &PgPool, channel: &str) -> Result<Listener, sqlx::Error> {
    let mut listener = Listener(Some(PgListener::connect_with(pool).await?));
    if let Some(listener) = &mut listener.0 {
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
    }
    Ok(listener)
}

/// Tells the owners of these lanes that deliveries were written into them, when the transaction commits.
pub(super) async fn tell(
    conn: &mut PgConnection,
    store: &PostgresStore,
    lanes: &[(Shard, Pending)],
) -> Result<(), StoreError> {
    for some in lanes.chunks(LANES) {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(store.0.poke.channel())
            .bind(write(some))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

fn write(lanes: &[(Shard, Pending)]) -> String {
    let lanes: Vec<String> = lanes
        .iter()
        .map(|(Shard(shard), lane)| {
            format!("{shard}:{}:{}", lane.subscription, lane.due_at.as_millis())
        })
        .collect();
    lanes.join(",")
}

/// What was heard of. Lanes of others are among it, for the next lease may bring them.
#[derive(Default)]
struct Heard {
    first: BTreeMap<i64, Timestamp>,
    given: bool,
}

impl Heard {
    /// These lanes were looked at.
    fn see(&mut self, lanes: Vec<Pending>) {
        for lane in lanes {
            self.note(lane.subscription, lane.due_at);
        }
    }

    fn note(&mut self, subscription: i64, due_at: Timestamp) {
        let first = self.first.entry(subscription).or_insert(due_at);
        *first = due_at.min(*first);
    }

    /// `None` where it is not understood.
    fn hear(&mut self, payload: &str) -> Option<()> {
        if payload == SHARDS_GIVEN {
            self.given = true;
            return Some(());
        }
        for lane in payload.split(',') {
            let mut parts = lane.split(':');
            parts
                .next()?
                .parse()
                .ok()
                .filter(|shard: &u8| *shard < SHARDS)?;
            let subscription = parts.next()?.parse().ok()?;
            let due_at = Timestamp::from_millis(parts.next()?.parse().ok()?);
            self.note(subscription, due_at);
        }
        Some(())
    }

    fn into_pending(self) -> Vec<Pending> {
        self.first
            .into_iter()
            .map(|(subscription, due_at)| Pending {
                subscription,
                due_at,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(subscription: i64, due_at: i64) -> Pending {
        Pending {
            subscription,
            due_at: Timestamp::from_millis(due_at),
        }
    }

    #[test]
    fn what_is_told_is_heard_by_whom_it_concerns() {
        let told = [
            (Shard(1), lane(10, 500)),
            (Shard(2), lane(20, 600)),
            (Shard(1), lane(10, 400)),
            (Shard(63), lane(30, -7)),
        ];
        let mut heard = Heard::default();
        heard.hear(&write(&told)).expect("understood");
        assert!(!heard.given);
        heard.hear(SHARDS_GIVEN).expect("understood");
        assert!(heard.given);
        assert_eq!(
            heard.into_pending(),
            [lane(10, 400), lane(20, 600), lane(30, -7)]
        );
    }

    #[test]
    fn what_is_not_understood_is_noticed() {
        for odd in ["", "look", "1:2", "64:1:1", "1:x:3", "1:2:3,", "-1:2:3"] {
            assert!(Heard::default().hear(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_notification_has_room_for_its_lanes() {
        let longest = (Shard(63), lane(i64::MAX, 253_402_300_799_999));
        assert!(write(&vec![longest; LANES]).len() < 8_000);
    }
}
