//! The outbox as its contract describes it, in memory, for tests.
//!
//! Its functions have the names and meanings of [`Outbox`](crate::Outbox) and [`Registry`](crate::Registry), and are
//! handed the instant. Where the contract leaves something open, such as ids and numbers, they are handed that, too, or
//! choose something of their own.

mod campaign;
mod command;
mod health;
mod history;
mod leases;
mod order;
mod outbox;
mod registry;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bytes::Bytes;
use tharsis_core::{
    DeliveryId, EventId, SubscriptionId, Timestamp, WorkerId, delivery::End, subscription::Target,
};

use self::command::{Command, Job};
pub use self::{
    leases::Leases,
    outbox::{Given, read},
};
use crate::{AttemptRecord, Due, Pointer, Refusal, Shard, Stop, StoreError, TransitionRecord};

/// The outbox and the registry.
#[derive(Debug, Clone)]
pub struct Model {
    /// The subscriptions that are not removed, by their short numbers.
    pub targets: BTreeMap<i64, Target>,
    /// The unfinished deliveries, in the order of routing.
    pub rows: Vec<Due>,
    /// How each delivery ended that is not on its way.
    pub ended: BTreeMap<DeliveryId, End>,
    /// The number of the replay under which that was.
    ended_under: BTreeMap<DeliveryId, u32>,
    /// The attempts of each delivery, in the order in which they happened.
    pub attempts: BTreeMap<DeliveryId, Vec<AttemptRecord>>,
    /// Who owns which shard.
    pub leases: Leases,
    /// The campaigns of which nothing is sent.
    pub stops: Vec<Stop>,
    /// The database's clock, as far as somebody set it: unfinished deliveries that have expired by it are told as such.
    pub clock: Option<Timestamp>,
    revision: i64,
    /// All subscriptions that there ever were.
    known: BTreeMap<i64, Known>,
    events: BTreeMap<EventId, Stored>,
    /// The event under each key, and the digest of its payload where the publisher chose the key.
    keys: BTreeMap<[u8; 16], (EventId, Option<[u8; 16]>)>,
    /// What is not routed yet, in the order of publication.
    pointers: BTreeMap<i64, EventId>,
    transitions: BTreeMap<i64, Vec<TransitionRecord>>,
    commands: Vec<Command>,
    jobs: Vec<Job>,
    last_seq: i64,
    /// Commits of others than workers so far, and those that each worker was told of.
    commits: u64,
    told: BTreeMap<WorkerId, u64>,
    /// Lanes into which another than their owner wrote, who was not told yet.
    foreign: BTreeMap<i64, Timestamp>,
}

/// What is known of a subscription for ever.
#[derive(Debug, Clone)]
struct Known {
    id: SubscriptionId,
    name: String,
    removed_at: Option<Timestamp>,
}

/// An event, and what its pointer says of it.
#[derive(Debug, Clone)]
struct Stored {
    pointer: Pointer,
    campaign: Option<String>,
    recipient: Option<String>,
    payload: Bytes,
    refused: Option<Refusal>,
}

impl Model {
    /// With these subscriptions, by their short numbers; `start` is before every other instant.
    pub fn new(start: Instant, targets: BTreeMap<i64, Target>) -> Self {
        let mut model = Self {
            targets: BTreeMap::new(),
            rows: Vec::new(),
            ended: BTreeMap::new(),
            attempts: BTreeMap::new(),
            leases: Leases::new(start),
            stops: Vec::new(),
            clock: None,
            revision: 1,
            known: BTreeMap::new(),
            events: BTreeMap::new(),
            keys: BTreeMap::new(),
            pointers: BTreeMap::new(),
            transitions: BTreeMap::new(),
            commands: Vec::new(),
            jobs: Vec::new(),
            ended_under: BTreeMap::new(),
            last_seq: 0,
            commits: 0,
            told: BTreeMap::new(),
            foreign: BTreeMap::new(),
        };
        for (number, target) in targets {
            model.admit(number, target);
        }
        model
    }

    fn seq(&mut self) -> i64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Where the lane of a subscription lies.
    pub fn shard(&self, number: i64) -> Shard {
        Shard::of_subscription(self.known[&number].id)
    }

    /// The short number of a subscription, removed or not.
    pub fn number(&self, id: SubscriptionId) -> Option<i64> {
        let mut known = self.known.iter();
        known.find(|(_, known)| known.id == id).map(|(n, _)| *n)
    }

    /// Goes up with each write to the registry.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether the event was published and is not routed yet.
    pub fn is_unrouted(&self, event: EventId) -> bool {
        let stored = self.events.get(&event);
        stored.is_some_and(|stored| self.pointers.contains_key(&stored.pointer.seq))
    }

    /// All sessions end: what was to be told in them is not, and who comes back finds all new.
    pub fn end_sessions(&mut self) {
        self.told.clear();
        self.foreign.clear();
    }

    /// The names of the unfinished deliveries.
    pub fn unfinished(&self) -> BTreeSet<DeliveryId> {
        self.rows.iter().map(|row| row.id).collect()
    }

    /// Everything that was published has ended.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty() && self.rows.is_empty()
    }
}

fn not_found(what: &'static str, id: &impl ToString) -> StoreError {
    StoreError::NotFound {
        what,
        id: id.to_string(),
    }
}

fn count(some: usize) -> u64 {
    u64::try_from(some).expect("few")
}
