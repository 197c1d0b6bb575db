//! Publishing together: events made ready in groups, and whoever comes to write first commits what waits, too.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tharsis_core::{
    EventId, Invalid,
    event::{Event, Idempotency},
};
use tokio::sync::oneshot;

use crate::{Published, StoreError};

/// What one transaction takes, so that no lock is held for longer than a few milliseconds.
const EVENTS: usize = 256;
const BYTES: usize = 1024 * 1024;

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

    /// Publishes these in one transaction and answers, in their order, what their keys have now.
    fn commit(
        &self,
        turn: Self::Turn,
        events: &[&Ready],
    ) -> impl Future<Output = Result<Vec<Found>, StoreError>> + Send;
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

/// Groups that wait for a turn. Whoever gets one commits all of them.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Vec<Job>>);

struct Job {
    group: Arc<Group>,
    done: oneshot::Sender<Vec<Found>>,
}

/// Events that go into one transaction, made ready before anything is locked.
struct Group {
    events: Vec<Ready>,
    bytes: usize,
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

async fn publish_group(store: &impl Commit, group: &Arc<Group>) -> Result<Vec<Found>, StoreError> {
    'again: loop {
        let (done, mut ours) = oneshot::channel();
        store.waiting().push(Job {
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
                turn = store.turn() => {
                    let turn = turn?;
                    let jobs = store.waiting().take();
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
async fn commit<S: Commit>(store: &S, turn: S::Turn, jobs: Vec<Job>) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let events: Vec<&Ready> = jobs.iter().flat_map(|job| &job.group.events).collect();
    let mut found = store.commit(turn, &events).await?.into_iter();
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
