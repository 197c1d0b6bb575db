use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp, WorkerId,
    alert::{Case, Facts},
    delivery::{End, Spent},
    event::Event,
    order::OrderKey,
    subscription::Target,
};

use crate::{
    Blocked, Claim, Claimed, Figures, Forgotten, LetGo, Retention, Stop, StoreError, Telling,
    Transition,
};

/// How many units of ownership there are.
pub const SHARDS: u8 = 64;

/// The unit of ownership: each lane belongs to one shard, each shard to one worker at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u8);

impl Shard {
    /// The shard that the lanes of this subscription lie in.
    pub fn of_subscription(id: SubscriptionId) -> Self {
        Self::of(id.as_uuid().as_bytes())
    }

    /// The shard that the pointers of this client's events lie in, so that one owner routes them in order.
    pub fn of_client(id: ClientId) -> Self {
        Self::of(id.as_uuid().as_bytes())
    }

    /// The shard that this replay lies in.
    pub fn of_replay(id: ReplayId) -> Self {
        Self::of(id.as_uuid().as_bytes())
    }

    // The last bytes of a UUID are random in versions 4 and 7 alike.
    fn of(id: &[u8; 16]) -> Self {
        Self::of_last_byte(id[15])
    }

    /// The shard of all whose id ends with this.
    pub(crate) fn of_last_byte(last: u8) -> Self {
        Self(last % SHARDS)
    }
}

/// A set of shards, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(pub u64);

impl Shards {
    /// All of them.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether this one is among them.
    pub fn contains(self, shard: Shard) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// One after the other, in order.
    pub fn iter(self) -> impl Iterator<Item = Shard> {
        (0..SHARDS)
            .map(Shard)
            .filter(move |shard| self.contains(*shard))
    }

    /// These and `others`.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are among `others` too.
    #[must_use]
    pub fn within(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Those that are not among `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl FromIterator<Shard> for Shards {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        let bits = shards.into_iter().map(|shard| 1 << shard.0);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

/// What a worker owns, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub worker: WorkerId,
    /// What it is to work with.
    pub shards: Shards,
    /// What it owns beside these, but is more than its share: nothing new is begun in them, and when nothing of them is
    /// under way any more they are given back with the next [`Outbox::hold`].
    pub surplus: Shards,
    /// The fence: goes up with each change of owner.
    pub epoch: i64,
    /// The database's clock when the lease was taken or renewed. The worker adds monotonic time to it.
    pub clock: Timestamp,
    /// How long it holds from `clock` on.
    pub length: Duration,
    /// When to ask for it again, from `clock` on: well before its end, and soon while shards are to change hands.
    pub renew_after: Duration,
}

impl Lease {
    /// What it is of, surplus and all.
    pub fn owned(&self) -> Shards {
        self.shards.with(self.surplus)
    }
}

/// What others may have done since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Something may have been published, registered or asked for.
    pub anything: bool,
    /// Lanes of this worker that another one wrote deliveries into, and when the first of those is due.
    pub lanes: Vec<Pending>,
    /// Another worker gave shards back: the next [`Outbox::hold`] may bring some of them.
    pub shards: bool,
}

/// The lane of what is held with its campaign.
pub const ASIDE: u16 = 1;

/// The lane of what has used up its retries while others wait for it: it is held until somebody retries or cancels it.
pub const KEPT: u16 = 2;

/// The lane of what waits for one that comes before it in [order](tharsis_core::order).
pub const PARKED: u16 = 3;

/// Where a delivery lies in the outbox and what made it due: it names a row, and is opaque to the engine but for its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// 0 is the live lane, which alone is read; the others are [`ASIDE`], [`KEPT`] and [`PARKED`].
    pub lane: u16,
    /// When it is due.
    pub due_at: Timestamp,
    /// The order of routing, among those that are due at the same instant. Where what a replay made due stands among them
    /// is open.
    pub seq: i64,
    /// The store's short number of the replay that made it due; 0 where routing did.
    pub replay: u32,
}

/// Pointers to events that are not yet routed, in order.
#[derive(Debug, Clone, Default)]
pub struct Pointers {
    /// The registry's revision, read in the same statement: a worker with an older snapshot reloads before it routes.
    pub revision: i64,
    /// At most as many as were asked for, oldest first.
    pub events: Vec<Pointer>,
}

/// What routing needs to know of an event.
#[derive(Debug, Clone)]
pub struct Pointer {
    /// Order of publication, and the key of the pointer.
    pub seq: i64,
    /// The event.
    pub event: EventId,
    /// On whose behalf.
    pub client: ClientId,
    /// Its type.
    pub event_type: Box<str>,
    /// When it was published.
    pub published_at: Timestamp,
    /// No attempt before.
    pub not_before: Option<Timestamp>,
    /// No attempt at or after.
    pub expires_at: Option<Timestamp>,
    /// The size of the payload in bytes.
    pub size: usize,
    /// The text of a payload that no publish of ours has frozen yet (inserted by SQL); routing freezes it. Empty where
    /// `size` is over [`MAX_PAYLOAD`](tharsis_core::event::MAX_PAYLOAD): routing refuses it unread.
    pub unfrozen: Option<Bytes>,
    /// Its campaign, as far as somebody wrote it beside the payload; `None` too while no campaign is [stopped](Stop). Of our
    /// [own](tharsis_core::alert::is_own) events whom they are about, always.
    pub named: Option<Box<Named>>,
}

/// The campaign that an event is of, and whom it is for: what a [`Stop`] is compared with. One of our
/// [own](tharsis_core::alert::is_own) is for the subscription that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The campaign.
    pub campaign: Option<Box<str>>,
    /// The recipient.
    pub recipient: Option<Box<str>>,
}

impl Named {
    /// Nothing where there is neither.
    pub fn of(campaign: Option<Box<str>>, recipient: Option<Box<str>>) -> Option<Box<Self>> {
        let is_any = campaign.is_some() || recipient.is_some();
        is_any.then(|| {
            Box::new(Self {
                campaign,
                recipient,
            })
        })
    }
}

/// What routing decided about one event. Written in one transaction that also deletes the pointer.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The pointer.
    pub seq: i64,
    /// Whom it goes to; empty when nobody wants it.
    pub to: Vec<RouteTo>,
    /// What freezing made of an unfrozen payload, or why it could not be frozen (the event ends `refused`). Campaign,
    /// recipient and `not_before` that the publisher gave in columns stay; of two expiries the earlier counts.
    pub frozen: Option<Result<Box<Event>, Invalid>>,
}

/// One delivery that routing made.
#[derive(Debug, Clone)]
pub struct RouteTo {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// First due then.
    pub due_at: Timestamp,
    /// The delivery ends at once, without a request (attempt number 0), with this code: over the limit, expired, of a
    /// cancelled campaign.
    pub ends: Option<(End, &'static str)>,
}

/// The registry as a worker needs it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Goes up with each write to the registry.
    pub revision: i64,
    /// Every subscription that is not removed, with the store's short number; those whose secret did not open are
    /// `Suspended { reason: "secret_unreadable" }`.
    pub targets: Vec<(i64, Arc<Target>)>,
    /// The campaigns, or recipients in them, of which nothing is sent.
    pub stops: Vec<Stop>,
}

/// One lane to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRead {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// Rows after this position (a hint: rows may appear behind it); `None` from the start.
    pub after: Option<Position>,
    /// At most so many rows.
    pub limit: u32,
    /// Rows tell their [recipient](Due::named), stopped campaigns or not.
    pub named: bool,
}

/// A lane's state as discovery finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// When its first delivery is due.
    pub due_at: Timestamp,
}

/// A delivery that is due, with everything an attempt needs.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its row.
    pub position: Position,
    /// Its name.
    pub id: DeliveryId,
    /// Its event's type.
    pub event_type: Box<str>,
    /// The frozen bytes.
    pub payload: Bytes,
    /// When the event was published.
    pub published_at: Timestamp,
    /// No attempt at or after.
    pub expires_at: Option<Timestamp>,
    /// Attempts made so far, over all replays: the next is number `attempts + 1`.
    pub attempts: u32,
    /// What is used up of the present retry budget.
    pub spent: Spent,
    /// The replay that made it due, where that asked for an idempotency value of its own. Few have one.
    pub fresh: Option<Box<ReplayId>>,
    /// Its campaign and recipient, as long as any campaign is [stopped](Stop), or where [they are asked for](LaneRead): a
    /// row that was read otherwise does not tell.
    pub named: Option<Box<Named>>,
    /// What it has in common with those that it goes in order with. It is for the reader to say, the store does not.
    pub key: Option<OrderKey>,
    /// Others wait for it: it bears its key since it was put back.
    pub is_waited_for: bool,
}

/// What a read of lanes found.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The rows that are due, each lane's in order.
    pub due: Vec<Due>,
    /// When the first row that is not due yet will be, for each lane that was read to its end (fewer rows than its
    /// limit) and has such a row. So a lane needs no other timer than this one.
    pub later: Vec<Pending>,
}

/// One request and what came of it, for the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// From 1 on; 0 is an end without a request.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The outcome's stable code.
    pub code: String,
    /// The status of the response.
    pub status: Option<u16>,
    /// The first 4 KiB of the response's body.
    pub excerpt: Vec<u8>,
    /// What a person should know beside the code.
    pub detail: Option<String>,
}

/// Where a delivery goes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It leaves the outbox.
    Ended(End),
    /// It is due again then, with so much of its budget used up.
    Again {
        /// When.
        due_at: Timestamp,
        /// What is used up.
        spent: Spent,
    },
    /// Its campaign is paused: it goes [aside](ASIDE), with all that it is, as long as that is so. No attempt comes with it.
    Aside,
    /// One before it is not delivered yet: it is [parked](PARKED), with so much of its budget used up as before. No attempt
    /// comes with it.
    Parked {
        /// It is due then. Those of a key are let go all at once with the earliest of them, so that they come before what
        /// is due later, and each in its order.
        due_at: Timestamp,
        /// What is used up.
        spent: Spent,
    },
    /// Its retries are used up and others wait for it: it is [kept](KEPT), with so much of its budget used up.
    Kept {
        /// What is used up.
        spent: Spent,
    },
}

/// One delivery's change: the row is named as it was read, so a change by anyone else makes it a no-op that is returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The row as it was read.
    pub position: Position,
    /// The event that is delivered.
    pub event: EventId,
    /// The attempts it was read with.
    pub attempts: u32,
    /// What happened; `None` when nothing is to be recorded (a fault of ours).
    pub attempt: Option<Attempt>,
    /// What becomes of the row.
    pub fate: Fate,
    /// What it has in common with those that wait for it, or that it waits for.
    pub key: Option<OrderKey>,
    /// Suspend the subscription too, for this reason.
    pub suspend: Option<&'static str>,
    /// The receiver's certificate ends then, which is soon: people are told.
    pub certificate_ends: Option<Timestamp>,
}

/// What became of one published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its id: the first one, when the same event was published before.
    pub id: EventId,
    /// It was published before; nothing was written.
    pub duplicate: bool,
}

/// The hot side: what was promised and is not yet settled.
///
/// # Contract
/// - `publish` is durable when it returns. When it fails it may have published some of the events, each whole with its
///   pointer or not at all: publish all of them again, for the same event again makes no second one. Among publishers of
///   one key, at whatever time and from however many processes, one wins and all others get its id or, under an explicit
///   key with another payload, a refusal.
/// - Pointers come in the order of publication; where there are more than are asked for, the first ones of some shards,
///   and none is left out for ever. `route` is one transaction: the deliveries appear and the pointers go,
///   or nothing happens. Routing the same pointer twice makes no second delivery. A delivery for a subscription that was
///   removed meanwhile ends `cancelled` with the code `subscription_removed`.
/// - `due` is a read: it changes nothing and may be repeated. It returns rows of live lanes whose `due_at` is not after `now`, each
///   lane in order of `(due_at, seq)`, and says of each lane that it read to its end when the next row will be due. The
///   order of the lanes among each other is open.
/// - `settle` is one transaction. A row that is no longer as it was read is left alone and its position returned;
///   nothing is recorded for it, except that a success is always recorded, once however often it is written, and ends the
///   delivery wherever its row has moved meanwhile and even if it has ended otherwise, also where somebody else settles the
///   same delivery at the same moment. What a replay made due again since the row was read stays due, with one attempt
///   more. A settlement that suspends does so in the same transaction, once, and bumps the registry's revision. A batch
///   names each delivery once, and each end comes with an attempt.
/// - A row goes [aside](Fate::Aside) only if its campaign, or its recipient in it, is paused at that moment; else it is left
///   alone. So what is resumed leaves nothing behind: whoever resumes has all that went aside before let go.
/// - A row that is put back, kept or parked bears its key, if it has one; one that is let go does not bear it any more. Of
///   the parked ones of a key none is let go while one before them that was put back is unfinished.
/// - What people are to be told is raised in the transaction in which it happens: by `settle` for deliveries that end dead
///   and for addresses that must not be reached, by `transition` for how a receiver does. What is raised again before it is
///   told is added to it. The event that tells of it is published by the `claim` that is given it first, and by no other.
/// - `work_off` is one transaction a chunk: a command is gone, or a replay's cursor has moved, with the deliveries that
///   changed or not at all. A replay takes each delivery once, and none of an event that was published after it was asked
///   for.
/// - Of the ends of a delivery the newest counts: attempts by their number, an end without a request (number 0) after the
///   attempts that had been made when it came.
/// - `changed` tells of every commit of another process, of another store on the same database, and of this store's own
///   publishes and registry writes, at least once. It may tell of something that was not there.
/// - A shard belongs to one lease at a time. Where a method is given a lease, it reads and changes what lies in the shards
///   of that lease alone: pointers of clients, lanes and commands of subscriptions, replays by their own id. `route` and a
///   replay write into lanes of other shards too, and their owner is told (see `changed`). `settle` reaches the surplus
///   too, and leaves alone what another worker has taken over, but for successes. Those take their row out of its owner's
///   lane, or count it as one attempt more, and nobody is told: an owner that has read it finds it changed when it settles.
/// - After a crash at any point every committed event is either still a pointer, or a delivery for each subscription that
///   wanted it, or has an end in the history.
/// - Methods that take a lease fail with [`StoreError::LeaseLost`] when nothing of it is the caller's any more, or another
///   owner came after it, and then have written nothing. One that only reads, or finds nothing to do, may still answer
///   where this process cannot know of it yet. A lease without shards is not lost for that: under it nothing is found, and
///   `settle` records successes.
/// - A future that is dropped before it is through leaves no transaction open, and none half done.
pub trait Outbox: Send + Sync + 'static {
    /// Publishes a batch in transactions of its own, some hundred events each; publishes that come together may share
    /// one. Events that are refused (another payload under the same key) are reported by their place; the others are
    /// durable.
    fn publish<'a>(
        &'a self,
        events: &'a [Event],
    ) -> impl Future<Output = Result<Vec<Result<Published, Invalid>>, StoreError>> + Send;

    /// Takes the lease, or renews it if this store holds it for this worker, and gives back what of its
    /// [surplus](Lease::surplus) is named; to name what is not its surplus any more does nothing, so that it can be asked
    /// again after a lost answer. Live workers share the shards evenly; a lease may be empty for a while. Fails with
    /// `already_owned`, naming the owner, where only one process may own; and once with `LeaseLost` when all that this
    /// worker had is another's by now, so that it learns of it.
    fn hold(
        &self,
        worker: WorkerId,
        give: Shards,
    ) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Leaves: gives the lease back but for the shards to `keep`, in which something is still under way, and with it what a
    /// renewal whose answer was lost gave this worker. Those are [surplus](Lease::surplus) from now on, and are renewed by
    /// asking again; the others' shares are counted without this worker. A lease that comes to be without shards records
    /// successes still; with `None` it is over, whether anything of it was left or not. Returns what is left of it. Where
    /// only one process may own, it owns all until then.
    fn release<'a>(
        &'a self,
        lease: &'a Lease,
        keep: Option<Shards>,
    ) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// What may have been committed since the last call that this worker did not commit itself. Cheap; asked at every
    /// poll.
    fn changed<'a>(
        &'a self,
        lease: &'a Lease,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// The registry with secrets opened.
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Up to `limit` pointers, oldest first, and the registry's revision.
    fn pointers<'a>(
        &'a self,
        lease: &'a Lease,
        limit: u32,
    ) -> impl Future<Output = Result<Pointers, StoreError>> + Send;

    /// The frozen payloads of these events, in their order: for the filters of subscriptions.
    fn payloads<'a>(
        &'a self,
        events: &'a [EventId],
    ) -> impl Future<Output = Result<Vec<Bytes>, StoreError>> + Send;

    /// Writes what routing decided.
    fn route<'a>(
        &'a self,
        lease: &'a Lease,
        routed: &'a [Routed],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every lane with unfinished deliveries that did not go aside, but for those of removed subscriptions, and when its first
    /// one is due. Asked after taking the lease, and once a minute.
    fn lanes<'a>(
        &'a self,
        lease: &'a Lease,
    ) -> impl Future<Output = Result<Vec<Pending>, StoreError>> + Send;

    /// The due rows of these lanes, and what comes after them in lanes that were read to their end.
    fn due<'a>(
        &'a self,
        lease: &'a Lease,
        lanes: &'a [LaneRead],
        now: Timestamp,
    ) -> impl Future<Output = Result<Rows, StoreError>> + Send;

    /// Records attempts and moves or ends deliveries. Returns the positions of rows that it left alone.
    fn settle<'a>(
        &'a self,
        lease: &'a Lease,
        settlements: &'a [Settlement],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send;

    /// The keys of these subscriptions of which somebody waits; of all subscriptions, where none is named.
    fn blocked<'a>(
        &'a self,
        lease: &'a Lease,
        subscriptions: &'a [i64],
    ) -> impl Future<Output = Result<Vec<Blocked>, StoreError>> + Send;

    /// Lets the next deliveries of these keys go that are [parked](PARKED), some at a time and in order, where none that was
    /// put back is before them: in a subscription without an order all the same, and where nothing is held for a dead one,
    /// what was kept goes too. Of a subscription that is about to go on without all that it held nothing is let go, and
    /// nothing is said.
    fn let_go<'a>(
        &'a self,
        lease: &'a Lease,
        keys: &'a [(i64, OrderKey)],
    ) -> impl Future<Output = Result<Vec<LetGo>, StoreError>> + Send;

    /// Writes down how receivers do from now on, each after the version before it; the history grows where the condition is
    /// another. Returns the subscriptions of which somebody had written something since: what came after that in the batch
    /// is left alone too. One that is suspended by it bumps the registry's revision, and so do no others: whoever takes its
    /// lane over reads the registry anew before it sends. It reaches the surplus too.
    fn transition<'a>(
        &'a self,
        lease: &'a Lease,
        transitions: &'a [Transition],
    ) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;

    /// Of subscriptions of which something is to be told now, all that is not told yet. Cheap when there is none.
    fn cases<'a>(
        &'a self,
        lease: &'a Lease,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Case>, StoreError>> + Send;

    /// Claims what is to be told now until then, so that nobody else tells it, and publishes what tells of it in the same
    /// transaction, once. Returns what it got.
    fn claim<'a>(
        &'a self,
        lease: &'a Lease,
        claims: &'a [Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send;

    /// What a message says of a subscription.
    fn facts(&self, subscription: i64) -> impl Future<Output = Result<Facts, StoreError>> + Send;

    /// Writes down what became of what was to be told. What was added to it since it was read is still to be told, also by
    /// an event of its own.
    fn told<'a>(
        &'a self,
        tellings: &'a [Telling],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Carries out one chunk (some hundreds of rows) of what was asked for: replays, retries now, cancellations,
    /// remains of removed subscriptions, campaigns that are resumed or cancelled. Call it again at once while there is more, and at the instant that it names.
    fn work_off<'a>(
        &'a self,
        lease: &'a Lease,
        now: Timestamp,
    ) -> impl Future<Output = Result<WorkedOff, StoreError>> + Send;

    /// Looks how much of each client waits, routed or not. Of one of which as much does as `limit` says, publishes are refused
    /// from now on with `backlog_full`, but for events that were published before and for our
    /// [own](tharsis_core::alert::is_own), until a tenth of it is free again, or nobody has looked for a minute; without a limit none are. It reads up to `limit`
    /// rows of a client.
    fn weigh<'a>(
        &'a self,
        lease: &'a Lease,
        limit: Option<u64>,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a chunk of what is held of events that are [kept no longer](Retention) `expired`, with the code `retention`. Where
    /// there is none, raises that there will be, once a day for a subscription. Call it again while there is more.
    fn expire<'a>(
        &'a self,
        lease: &'a Lease,
        retention: &'a Retention,
        now: Timestamp,
    ) -> impl Future<Output = Result<WorkedOff, StoreError>> + Send;

    /// Forgets a chunk of what is [kept no longer](Retention). Ends nothing, and needs no owner. Call it again while there is
    /// more.
    fn forget<'a>(
        &'a self,
        retention: &'a Retention,
        now: Timestamp,
    ) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;

    /// Sees to what has to be done now and then, whoever owns what: partitions made ahead of time, former secrets
    /// forgotten that have signed no more for a day. Asked when a run begins and once an hour; several workers may be at it.
    fn maintain(&self, now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Adds what was counted to the figures, in one transaction: some hundreds of each at most. Where an answer was lost, some
    /// may be counted twice or not at all; what a worker has not added when it is killed is not counted, nor is what is of a
    /// client without a subscription, for it was erased, or of a subscription that was removed. They are kept for 48 hours.
    fn add_figures<'a>(
        &'a self,
        figures: &'a Figures,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Looks how much waits, and notes it for the minute that began then, unless somebody has. Where the database has much else
    /// to do it is not noted.
    fn note_depth(&self, at: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is not finished, for `run --until-idle` and for people: (unrouted events, deliveries due or waiting to be
    /// retried, deliveries held by a pause or a state, deliveries scheduled for later, commands).
    fn remaining(
        &self,
        now: Timestamp,
    ) -> impl Future<Output = Result<Remaining, StoreError>> + Send;
}

/// What one chunk of commands did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkedOff {
    /// The lanes it touched: they are to be read again from their start.
    pub lanes: Vec<Pending>,
    /// There is more to carry out. A chunk can touch no lane and still leave more.
    pub more: bool,
    /// Where there is no more now, there is then.
    pub next: Option<Timestamp>,
}

/// What is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Events that are not routed yet.
    pub unrouted: u64,
    /// Deliveries that are due, or wait for a retry.
    pub pending: u64,
    /// Deliveries of subscriptions that are paused or suspended, or whose receiver is not to be asked yet, and those that
    /// went [aside](ASIDE) with their campaign.
    pub held: u64,
    /// Deliveries of events that are not to be attempted yet (`not_before`), and were not.
    pub scheduled: u64,
    /// Commands that are not carried out yet, and replays that are not through, but for those that somebody paused and those
    /// that could only go on with what is held.
    pub commands: u64,
}
