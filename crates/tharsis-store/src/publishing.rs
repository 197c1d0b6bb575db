//! Publishing together: events made ready in groups, and whoever comes to write first commits what waits, too.

use std::{
    future::Future,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use tharsis_core::{
    EventId, Invalid,
    event::{Event, Idempotency},
};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    Published, StoreError, backlog,
    failpoint::{Failpoint, reached},
};

/// What one transaction takes, so that no lock is held for longer than a few milliseconds.
const EVENTS: usize = 256;
const BYTES: usize = 1024 * 1024;

/// How many callers try at a time whether somebody else is through with a key of theirs: fewer than there are turns on
/// PostgreSQL, so that one is left for all the others.
const TRYING: usize = 2;

/// The milliseconds of the years 1970 to 9999, which everything that an event goes through can write.
pub(crate) const YEARS: RangeInclusive<i64> = 0..=253_402_300_799_999;

/// An event and what the store knows it by.
pub(crate) type Ready = (Event, Idempotency);

/// A store that commits groups of events.
pub(crate) trait Commit: Sync {
    /// The right to write next.
    type Turn: Send;

    /// Groups that wait to be written.
    fn waiting(&self) -> &Waiting;

    /// Waits until it is the caller's turn to write.
    fn turn(&self) -> impl Future<Output = Result<Self::Turn, StoreError>> + Send;

    /// Publishes these in one transaction and answers, in their order, what their keys have now. Where an open
    /// transaction has published under one of the keys it soon gives up: its turn is lost to others so long.
    fn commit(
        &self,
        turn: Self::Turn,
        events: &[&Ready],
    ) -> impl Future<Output = Result<Vec<Found>, StoreError>> + Send;

    /// Whether a commit failed for such a key.
    fn is_locked(_error: &StoreError) -> bool {
        false
    }
}

/// Refuses what an event can hold and not every database can.
pub(crate) fn check(event: &Event) -> Result<(), Invalid> {
    for (field, at) in [
        ("not_before", event.not_before()),
        ("expires_at", event.expires_at()),
    ] {
        if at.is_some_and(|at| !YEARS.contains(&at.as_millis())) {
            return Err(
                Invalid::new("bad_time", "is not within the years 1970 to 9999")
                    .at(field)
                    .hint("give an instant of these years, or leave it out"),
            );
        }
    }
    Ok(())
}

/// What the database has under the key of an event after it was published.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: EventId,
    /// Digest of the payload of an earlier event under an explicit key.
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) duplicate: bool,
}

impl Found {
    pub(crate) fn judge(self, idempotency: &Idempotency) -> Result<Published, Invalid> {
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

pub(crate) async fn publish(
    store: &impl Commit,
    events: &[Event],
) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
    let checked: Vec<Result<(), Invalid>> = events.iter().map(check).collect();
    let sound = events
        .iter()
        .zip(&checked)
        .filter_map(|(event, checked)| checked.is_ok().then_some(event));
    let mut published = Vec::with_capacity(events.len());
    for group in groups(sound) {
        let group = Arc::new(group);
        let found = publish_group(store, &group).await?;
        published.extend(
            group
                .events
                .iter()
                .zip(found)
                .map(|((_, idempotency), found)| found?.judge(idempotency)),
        );
    }
    let mut published = published.into_iter();
    Ok(checked
        .into_iter()
        .filter_map(|checked| match checked {
            Ok(()) => published.next(),
            Err(refused) => Some(Err(refused)),
        })
        .collect())
}

/// Groups that wait for a turn, of which whoever gets one commits all, and places for those who try again and again.
pub(crate) struct Waiting {
    jobs: Mutex<Vec<Job>>,
    places: Semaphore,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            places: Semaphore::new(TRYING),
        }
    }
}

struct Job {
    group: Arc<Group>,
    done: oneshot::Sender<Result<Vec<Found>, StoreError>>,
}

/// Events that go into one transaction, made ready before anything is locked.
struct Group {
    events: Vec<Ready>,
    bytes: usize,
}

fn groups<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Group> {
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

/// Where a client's backlog is full, what it publishes is refused; neither the others' is, nor what it has published before.
async fn publish_group<S: Commit>(
    store: &S,
    group: &Arc<Group>,
) -> Result<Vec<Result<Found, Invalid>>, StoreError> {
    match whole(store, group).await {
        Ok(found) => Ok(found.into_iter().map(Ok).collect()),
        Err(error) if backlog::is_refusal(&error) => one_by_one(store, group).await,
        Err(error) => Err(error),
    }
}

async fn one_by_one<S: Commit>(
    store: &S,
    group: &Group,
) -> Result<Vec<Result<Found, Invalid>>, StoreError> {
    let mut answers = Vec::with_capacity(group.events.len());
    for event in &group.events {
        let alone = Arc::new(Group {
            bytes: event.0.payload().len(),
            events: vec![event.clone()],
        });
        match whole(store, &alone).await {
            Ok(found) => answers.extend(found.into_iter().map(Ok)),
            Err(error) if backlog::is_refusal(&error) => answers.push(Err(backlog::refusal())),
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

async fn whole<S: Commit>(store: &S, group: &Arc<Group>) -> Result<Vec<Found>, StoreError> {
    let mut found = match together(store, group).await {
        Some(found) => found,
        None => alone(store, group).await,
    };
    // However long it takes.
    while found.as_ref().is_err_and(S::is_locked) {
        let _place = store.waiting().places.acquire().await;
        found = alone(store, group).await;
    }
    found
}

/// Publishes it together with whatever else waits. `None` when whoever took it along failed or was stopped: the cause
/// may be somebody else's.
async fn together<S: Commit>(
    store: &S,
    group: &Arc<Group>,
) -> Option<Result<Vec<Found>, StoreError>> {
    let (done, mut ours) = oneshot::channel();
    store.waiting().push(Job {
        group: Arc::clone(group),
        done,
    });
    reached(Failpoint::PublishWaiting);
    loop {
        tokio::select! {
            biased;
            found = &mut ours => return found.ok(),
            turn = store.turn() => match turn {
                Ok(turn) => commit(store, turn, store.waiting().take()).await,
                Err(error) => return Some(Err(error)),
            },
        }
    }
}

async fn alone<S: Commit>(store: &S, group: &Group) -> Result<Vec<Found>, StoreError> {
    let events: Vec<&Ready> = group.events.iter().collect();
    let turn = store.turn().await?;
    reached(Failpoint::PublishBegun);
    let found = store.commit(turn, &events).await?;
    reached(Failpoint::PublishCommitted);
    Ok(found)
}

/// Commits all of these together and tells those who wait for them. When it fails, only who was alone is told why.
async fn commit<S: Commit>(store: &S, turn: S::Turn, mut jobs: Vec<Job>) {
    if jobs.is_empty() {
        return;
    }
    let events: Vec<&Ready> = jobs.iter().flat_map(|job| &job.group.events).collect();
    reached(Failpoint::PublishBegun);
    let found = store.commit(turn, &events).await;
    // Nobody listens where a caller has gone away; the events are durable all the same.
    match found {
        Ok(found) => {
            reached(Failpoint::PublishCommitted);
            let mut found = found.into_iter();
            for job in jobs {
                let its = found.by_ref().take(job.group.events.len()).collect();
                let _ = job.done.send(Ok(its));
                reached(Failpoint::PublishTold);
            }
        }
        Err(error) => {
            if let (Some(job), true) = (jobs.pop(), jobs.is_empty()) {
                let _ = job.done.send(Err(error));
            }
        }
    }
}

impl Waiting {
    fn push(&self, job: Job) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(job);
    }

    /// The oldest, as many as one transaction takes; not those whose caller has gone away.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use tharsis_core::Timestamp;
    use tokio::{
        sync::OwnedSemaphorePermit,
        task::{JoinHandle, yield_now},
        time::{sleep, timeout},
    };

    use super::*;

    /// A store of three turns that refuses the key `bad`, and in which an open transaction may have the key `held`.
    struct Fake {
        waiting: Waiting,
        turns: Arc<Semaphore>,
        is_held: AtomicBool,
        /// Of how many events each transaction was.
        sizes: Mutex<Vec<usize>>,
    }

    impl Fake {
        fn new(is_held: bool) -> Arc<Self> {
            Arc::new(Self {
                waiting: Waiting::default(),
                turns: Arc::new(Semaphore::new(3)),
                is_held: is_held.into(),
                sizes: Mutex::default(),
            })
        }

        fn sizes(&self) -> Vec<usize> {
            self.sizes.lock().expect("no panic").clone()
        }
    }

    impl Commit for Fake {
        type Turn = OwnedSemaphorePermit;

        fn waiting(&self) -> &Waiting {
            &self.waiting
        }

        async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            turn.map_err(StoreError::database)
        }

        async fn commit(
            &self,
            _turn: OwnedSemaphorePermit,
            events: &[&Ready],
        ) -> Result<Vec<Found>, StoreError> {
            self.sizes.lock().expect("no panic").push(events.len());
            let has = |key: &str| {
                events
                    .iter()
                    .any(|(event, _)| event.key().is_some_and(|its| its.as_str() == key))
            };
            if has("held") && self.is_held.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5)).await;
                return Err(StoreError::LeaseLost);
            }
            if has("bad") {
                return Err(StoreError::database("it is bad"));
            }
            let found = |(event, _): &&Ready| Found {
                id: EventId::new(Timestamp::from_millis(0), [event.payload()[5]; 10]),
                payload: None,
                duplicate: false,
            };
            Ok(events.iter().map(found).collect())
        }

        fn is_locked(error: &StoreError) -> bool {
            matches!(error, StoreError::LeaseLost)
        }
    }

    fn event(key: &str, n: usize) -> Event {
        let text = format!(
            r#"{{"type":"ticket","client":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","key":"{key}","payload":{{"n":{n}}}}}"#
        );
        Event::parse(text.as_bytes()).expect("an event")
    }

    type Answer = Result<Published, StoreError>;

    /// Publishes each of these for a caller of its own, at once: the first turn takes all of them.
    async fn at_once(store: &Arc<Fake>, events: Vec<Event>) -> Vec<JoinHandle<Answer>> {
        let count = events.len();
        let turns = store.turns.acquire_many(3).await.expect("turns");
        let callers = events
            .into_iter()
            .map(|event| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    let mut published = publish(&*store, &[event]).await?;
                    Ok::<_, StoreError>(published.remove(0)?)
                })
            })
            .collect();
        while store.waiting.jobs.lock().expect("no panic").len() < count {
            yield_now().await;
        }
        drop(turns);
        callers
    }

    async fn answer(caller: JoinHandle<Answer>) -> Answer {
        let answer = timeout(Duration::from_secs(20), caller).await;
        answer.expect("nobody waits for others").expect("no panic")
    }

    #[tokio::test]
    async fn who_publishes_together_is_told_of_what_is_theirs() {
        let store = Fake::new(false);
        let events = (0..8).map(|n| event("good", n)).collect();
        let callers = at_once(&store, events).await;
        for (n, caller) in (b'0'..).zip(callers) {
            let published = answer(caller).await.expect("published");
            let expected = EventId::new(Timestamp::from_millis(0), [n; 10]);
            assert_eq!(published.id, expected);
        }
        assert_eq!(store.sizes(), [8]);
    }

    #[tokio::test]
    async fn an_error_reaches_nobody_but_whose_it_is() {
        let store = Fake::new(false);
        let key = |n| if n == 3 { "bad" } else { "good" };
        let events = (0..8).map(|n| event(key(n), n)).collect();
        let callers = at_once(&store, events).await;
        for (n, caller) in callers.into_iter().enumerate() {
            assert_eq!(answer(caller).await.is_err(), n == 3, "{n}");
        }
        assert_eq!(store.sizes(), [8, 1, 1, 1, 1, 1, 1, 1, 1]);
        // One that is alone is not tried again.
        let callers = at_once(&store, vec![event("bad", 9)]).await;
        for caller in callers {
            answer(caller).await.expect_err("it is bad");
        }
        assert_eq!(store.sizes().len(), 10);
    }

    #[tokio::test]
    async fn a_key_that_is_held_keeps_nobody_else_waiting() {
        let store = Fake::new(true);
        let key = |n| if n < 5 { "held" } else { "good" };
        let events = (0..20).map(|n| event(key(n), n)).collect();
        let mut held = at_once(&store, events).await;
        for caller in held.split_off(5) {
            answer(caller).await.expect("published");
        }
        // Nor anybody who comes later.
        for n in 20..30 {
            let events = [event("good", n)];
            let late = timeout(Duration::from_secs(20), publish(&*store, &events)).await;
            assert!(late.expect("nobody waits").expect("published")[0].is_ok());
        }
        assert!(held.iter().all(|caller| !caller.is_finished()));
        store.is_held.store(false, Ordering::Relaxed);
        for caller in held {
            answer(caller).await.expect("published");
        }
    }
}
