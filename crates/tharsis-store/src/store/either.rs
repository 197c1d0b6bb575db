//! Both traits, passed on to the store that it is.
//!
//! Each method gives a boxed future: what a database does is compiled here, once, and not again in every program that waits
//! for it. That costs an allocation for each call, which is one for many deliveries.

use std::future::Future;

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp, TokenId, WorkerId,
    alert::{Case, Facts},
    erasure::Erasure,
    event::Event,
    order::OrderKey,
    secret::Secret,
    subscription::{Credentials, Held, Settings, Subscription},
    token::Token,
};

use super::{Boxed, Store, boxed};
use crate::{
    AlertRecord, Anew, AuditRecord, Blocked, By, Campaign, CampaignReport, Changed, Claim, Claimed,
    CommandAccepted, Deed, DeliveryDetail, DeliveryFilter, DeliveryRow, Depth, Erased, EventRecord,
    Figures, Forgotten, Gauges, KeyRecord, KeyRotated, LaneRead, Lease, LetGo, Outbox, Outlived,
    Page, Pending, Pointers, Position, Published, Registry, Remaining, Removed, Replay,
    ReplayChoice, ReplayDraft, Retention, Routed, Rows, Settled, Settlement, Shards, Snapshot,
    Stop, StoreError, Survey, Tally, Telling, TokenDraft, TokenRecord, Traffic, Transition,
    TransitionRecord, Unfinished, Whereabouts, WorkedOff,
};

/// Asks the one it is.
macro_rules! ask {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match $store {
            Store::Sqlite(store) => boxed(store.$method($($argument),*)),
            Store::Postgres(store) => boxed(async move {
                (store.$method($($argument),*).await).map_err(StoreError::or_not_permitted)
            }),
        }
    };
}

/// Methods that are passed on as they are.
macro_rules! pass_on {
    ($(fn $method:ident($($argument:ident: $type:ty),*) -> $done:ty;)*) => {$(
        fn $method<'a>(
            &'a self,
            $($argument: $type),*
        ) -> impl Future<Output = Result<$done, StoreError>> + Send {
            ask!(self, $method($($argument),*))
        }
    )*};
}

/// Changes, whose last argument is by whom.
macro_rules! pass_on_by {
    ($(fn $method:ident($($argument:ident: $type:ty),*) -> $done:ty;)*) => {$(
        fn $method<'a>(
            &'a self,
            $($argument: $type,)*
            by: impl Into<By<'a>> + Send,
        ) -> impl Future<Output = Result<$done, StoreError>> + Send {
            // What is generic is compiled where it is called: so this is not.
            fn ask<'a>(
                store: &'a Store,
                $($argument: $type,)*
                by: By<'a>,
            ) -> Boxed<'a, $done> {
                ask!(store, $method($($argument,)* by))
            }
            ask(self, $($argument,)* by.into())
        }
    )*};
}

#[expect(clippy::needless_lifetimes, reason = "one macro makes all of them")]
impl Outbox for Store {
    pass_on! {
        fn publish(events: &'a [Event]) -> Vec<Result<Published, Invalid>>;
        fn hold(worker: WorkerId, give: Shards) -> Lease;
        fn release(lease: &'a Lease, keep: Option<Shards>) -> Option<Lease>;
        fn changed(lease: &'a Lease) -> Changed;
        fn snapshot() -> Snapshot;
        fn pointers(lease: &'a Lease, limit: u32) -> Pointers;
        fn payloads(events: &'a [EventId]) -> Vec<Bytes>;
        fn route(lease: &'a Lease, routed: &'a [Routed]) -> ();
        fn lanes(lease: &'a Lease) -> Vec<Pending>;
        fn due(lease: &'a Lease, lanes: &'a [LaneRead], now: Timestamp) -> Rows;
        fn settle(lease: &'a Lease, settlements: &'a [Settlement]) -> Vec<Position>;
        fn blocked(lease: &'a Lease, subscriptions: &'a [i64]) -> Vec<Blocked>;
        fn let_go(lease: &'a Lease, keys: &'a [(i64, OrderKey)]) -> Vec<LetGo>;
        fn transition(lease: &'a Lease, transitions: &'a [Transition]) -> Vec<i64>;
        fn cases(lease: &'a Lease, now: Timestamp) -> Vec<Case>;
        fn claim(lease: &'a Lease, claims: &'a [Claim], now: Timestamp, until: Timestamp) -> Vec<Claimed>;
        fn facts(subscription: i64) -> Facts;
        fn told(tellings: &'a [Telling], now: Timestamp) -> ();
        fn work_off(lease: &'a Lease, now: Timestamp) -> WorkedOff;
        fn weigh(lease: &'a Lease, limit: Option<u64>, now: Timestamp) -> ();
        fn expire(lease: &'a Lease, retention: &'a Retention, now: Timestamp) -> WorkedOff;
        fn forget(retention: &'a Retention, now: Timestamp) -> Forgotten;
        fn maintain(now: Timestamp) -> ();
        fn add_figures(figures: &'a Figures) -> ();
        fn note_depth(at: Timestamp) -> ();
        fn remaining(now: Timestamp) -> Remaining;
    }
}

#[expect(clippy::needless_lifetimes, reason = "one macro makes all of them")]
impl Registry for Store {
    pass_on! {
        fn find(id: SubscriptionId) -> Subscription;
        fn list(client: Option<ClientId>) -> Vec<Subscription>;
        fn credentials(id: SubscriptionId) -> Credentials;
        fn event(id: EventId) -> EventRecord;
        fn deliveries(filter: &'a DeliveryFilter, after: Option<&'a str>, limit: u32) -> Page<DeliveryRow>;
        fn count(filter: &'a DeliveryFilter) -> u64;
        fn unfinished(client: Option<ClientId>, subscription: Option<SubscriptionId>, most: u64) -> Unfinished;
        fn delivery(id: DeliveryId) -> DeliveryDetail;
        fn settled(filter: &'a DeliveryFilter, since: Timestamp, limit: u32) -> Settled;
        fn transitions(id: SubscriptionId) -> Vec<TransitionRecord>;
        fn alerts(client: Option<ClientId>) -> Vec<AlertRecord>;
        fn tally(choice: &'a ReplayChoice, looked: Option<usize>) -> Tally;
        fn audit(client: Option<ClientId>, after: Option<&'a str>, limit: u32) -> Page<AuditRecord>;
        fn replay_state(id: ReplayId) -> Replay;
        fn replays(client: Option<ClientId>) -> Vec<Replay>;
        fn campaign(campaign: &'a Campaign) -> CampaignReport;
        fn campaign_clients(campaign: &'a str) -> Vec<ClientId>;
        fn owned() -> bool;
        fn whereabouts(id: EventId) -> Whereabouts;
        fn erase(whose: &'a Erasure, by: By<'a>, tell: &'a (dyn Fn(&Erased) + Sync)) -> Erased;
        fn outlived(retention: &'a Retention, now: Timestamp) -> Outlived;
        fn survey() -> Survey;
        fn gauges() -> Gauges;
        fn minutes(client: Option<ClientId>, since: Timestamp) -> Vec<Traffic>;
        fn quarters(id: SubscriptionId, since: Timestamp) -> Vec<Traffic>;
        fn depths(since: Timestamp) -> Vec<Depth>;
        fn keys() -> Vec<KeyRecord>;
        fn prepare_key() -> String;
        fn rotate_key(by: By<'a>, tell: &'a (dyn Fn(u64) + Sync)) -> KeyRotated;
        fn add_token(token: &'a Token, draft: &'a TokenDraft, by: By<'a>) -> TokenRecord;
        fn tokens(client: Option<ClientId>) -> Vec<TokenRecord>;
        fn revoke_token(client: Option<ClientId>, id: TokenId, by: By<'a>) -> TokenRecord;
        fn token(hash: &'a [u8; 32], now: Timestamp) -> Option<TokenRecord>;
        fn used_token(id: TokenId, now: Timestamp) -> ();
        fn has_tokens(now: Timestamp) -> bool;
    }

    pass_on_by! {
        fn add(settings: &'a Settings, credentials: &'a Credentials) -> Subscription;
        fn set(id: SubscriptionId, settings: &'a Settings, anew: Anew<'a>) -> Subscription;
        fn pause(id: SubscriptionId) -> Subscription;
        fn resume(id: SubscriptionId, held: Held) -> Subscription;
        fn rotate(id: SubscriptionId, secret: Option<&'a Secret>, until: Option<Timestamp>) -> Subscription;
        fn remove(id: SubscriptionId) -> Removed;
        fn retry(id: DeliveryId) -> CommandAccepted;
        fn cancel(id: DeliveryId) -> CommandAccepted;
        fn replay(draft: &'a ReplayDraft) -> Replay;
        fn pause_replay(id: ReplayId) -> Replay;
        fn resume_replay(id: ReplayId) -> Replay;
        fn cancel_replay(id: ReplayId) -> Replay;
        fn record(deed: &'a Deed) -> ();
        fn pause_campaign(campaign: &'a Campaign) -> Stop;
        fn cancel_campaign(campaign: &'a Campaign) -> Stop;
        fn resume_campaign(campaign: &'a Campaign) -> Option<Stop>;
    }
}
