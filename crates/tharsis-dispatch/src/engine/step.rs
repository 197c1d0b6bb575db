use std::{sync::Arc, time::Instant};

use tharsis_core::{
    Invalid, Timestamp,
    delivery::Outcome,
    order::OrderKey,
    signer::{self, Item, Request},
    subscription::Target,
};
use tharsis_store::{
    Blocked, Changed, Due, Figures, LaneRead, Lease, LetGo, Pending, Pointer, Pointers, Position,
    Remaining, Retention, Rows, Settlement, Shards, Snapshot, StoreError, Transition, WorkedOff,
};

use super::routing::{self, Routes};

/// What is being sent in one request.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) due: Due,
    /// What goes with it, under a profile that knows batches.
    pub(super) more: Box<[Due]>,
    /// The subscription as it was when the request began.
    pub(super) target: Arc<Target>,
    /// When the request began, by the database's clock.
    pub(super) at: Timestamp,
}

impl Flight {
    /// The deliveries of it, of one lane.
    pub(super) fn dues(&self) -> impl Iterator<Item = &Due> {
        std::iter::once(&self.due).chain(&self.more)
    }

    pub(super) fn deliveries(&self) -> usize {
        1 + self.more.len()
    }

    /// The request that it is.
    ///
    /// # Errors
    /// What is wrong with one of its deliveries.
    pub(super) fn request(&self) -> Result<Request, Invalid> {
        if self.more.is_empty() {
            return self.request_of(&self.due);
        }
        let items: Vec<Item<'_>> = self.dues().map(item).collect();
        self.request_of_items(&items)
    }

    /// The request of one of its deliveries alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn request_of(&self, due: &Due) -> Result<Request, Invalid> {
        self.request_of_items(&[item(due)])
    }

    fn request_of_items(&self, items: &[Item<'_>]) -> Result<Request, Invalid> {
        let Target {
            subscription,
            credentials,
        } = &*self.target;
        signer::request(&subscription.settings, credentials, items, self.at)
    }
}

fn item(due: &Due) -> Item<'_> {
    Item {
        id: due.id,
        event_type: &due.event_type,
        payload: &due.payload,
        fresh: due.fresh.as_deref().copied(),
    }
}

/// What the state wants done. Each is answered by the [`Input`] of the same name, but for the last two.
#[derive(Debug)]
pub(super) enum Effect {
    /// Take or renew the lease, and give these shards back.
    Hold(Shards),
    /// Ask what was committed by someone else.
    Poll(Lease),
    /// Read the registry.
    Load,
    /// Read the first pointers.
    Point(Lease),
    /// Route these events as the registry says, and write that down.
    Route(Lease, Arc<Routes>, Vec<Pointer>, Timestamp),
    /// Find all lanes with unfinished deliveries.
    Discover(Lease),
    /// Read the head of these lanes.
    Read(Lease, Vec<LaneRead>, Timestamp),
    /// Make the request and send it.
    Send(Flight),
    /// Write down what came of deliveries.
    Settle(Lease, Arc<Vec<Settlement>>),
    /// Look which deliveries of these lanes wait for others in the store; whether these are all that there are.
    Look(Lease, Arc<[i64]>, bool),
    /// Let the next deliveries of these keys go.
    LetGo(Lease, Arc<[(i64, OrderKey)]>),
    /// Write down how receivers do.
    Transition(Lease, Arc<Vec<Transition>>),
    /// Tell people what is to be told of these subscriptions.
    Tell(Lease, Arc<Routes>, Timestamp),
    /// Look whose backlog is full.
    Weigh(Lease, Option<u64>, Timestamp),
    /// Carry out a chunk of commands.
    WorkOff(Lease, Timestamp),
    /// Add what was counted to the figures.
    AddFigures(Arc<Figures>),
    /// Note how much waits in the minute that began then.
    NoteDepth(Timestamp),
    /// End and forget a chunk of what is kept no longer.
    Forget(Lease, Retention, Timestamp),
    /// See to what has to be done now and then, whoever owns what.
    Maintain(Timestamp),
    /// Count what is not finished.
    Count(Timestamp),
    /// Give the lease back but for these shards, in which something is still under way; without them it is over.
    Release(Lease, Option<Shards>),
    /// Drop the requests in flight. What came of them is never known, so their deliveries will be sent again.
    Abandon,
    /// The run is over.
    Finish,
}

/// What came of an effect, or from outside.
#[derive(Debug)]
pub(super) enum Input {
    /// With the instant at which the lease was asked for.
    Hold(Instant, Result<Lease, StoreError>),
    Poll(Result<Changed, StoreError>),
    Load(Result<Snapshot, StoreError>),
    Point(Result<Pointers, StoreError>),
    Route(Result<routing::Done, StoreError>),
    Discover(Result<Vec<Pending>, StoreError>),
    Read(Result<Rows, StoreError>),
    /// An `Err` when no request can be made of the delivery.
    Send(Box<Flight>, Result<Outcome, Invalid>),
    Settle(Result<Vec<Position>, StoreError>),
    /// With the lanes that were asked for.
    Look(Arc<[i64]>, Result<Vec<Blocked>, StoreError>),
    /// With the keys that were asked for.
    LetGo(Arc<[(i64, OrderKey)]>, Result<Vec<LetGo>, StoreError>),
    Transition(Result<Vec<i64>, StoreError>),
    Tell(Result<(), StoreError>),
    Weigh(Result<(), StoreError>),
    WorkOff(Result<WorkedOff, StoreError>),
    AddFigures(Result<(), StoreError>),
    NoteDepth(Result<(), StoreError>),
    Forget(Result<WorkedOff, StoreError>),
    Maintain(Result<(), StoreError>),
    Count(Result<Remaining, StoreError>),
    /// With the instant at which it was asked for, for some of it may be kept.
    Release(Instant, Result<Option<Lease>, StoreError>),
    /// Somebody in this process committed something.
    Woken,
    /// The run is to end.
    Shutdown,
}
