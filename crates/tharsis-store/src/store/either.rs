//! Both traits, passed on to the store that it is.

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

use super::Store;
use crate::{
    AlertRecord, Anew, AuditRecord, Blocked, By, Campaign, CampaignReport, Changed, Claim, Claimed,
    CommandAccepted, Deed, DeliveryDetail, DeliveryFilter, DeliveryRow, Erased, EventRecord,
    Forgotten, KeyRecord, KeyRotated, LaneRead, Lease, LetGo, Outbox, Outlived, Page, Pending,
    Pointers, Position, Published, Registry, Remaining, Removed, Replay, ReplayChoice, ReplayDraft,
    Retention, Routed, Rows, Settlement, Shards, Snapshot, Stop, StoreError, Survey, Telling,
    TokenDraft, TokenRecord, Transition, TransitionRecord, Whereabouts, WorkedOff,
};

/// Asks the one it is.
macro_rules! either {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match $store {
            Store::Sqlite(store) => store.$method($($argument),*).await,
            Store::Postgres(store) => {
                (store.$method($($argument),*).await).map_err(StoreError::or_not_permitted)
            }
        }
    };
}

impl Outbox for Store {
    async fn publish(
        &self,
        events: &[Event],
    ) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
        either!(self, publish(events))
    }

    async fn hold(&self, worker: WorkerId, give: Shards) -> Result<Lease, StoreError> {
        either!(self, hold(worker, give))
    }

    async fn release(
        &self,
        lease: &Lease,
        keep: Option<Shards>,
    ) -> Result<Option<Lease>, StoreError> {
        either!(self, release(lease, keep))
    }

    async fn changed(&self, lease: &Lease) -> Result<Changed, StoreError> {
        either!(self, changed(lease))
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        either!(self, snapshot())
    }

    async fn pointers(&self, lease: &Lease, limit: u32) -> Result<Pointers, StoreError> {
        either!(self, pointers(lease, limit))
    }

    async fn payloads(&self, events: &[EventId]) -> Result<Vec<Bytes>, StoreError> {
        either!(self, payloads(events))
    }

    async fn route(&self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        either!(self, route(lease, routed))
    }

    async fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        either!(self, lanes(lease))
    }

    async fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        either!(self, due(lease, lanes, now))
    }

    async fn settle(
        &self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        either!(self, settle(lease, settlements))
    }

    async fn blocked(
        &self,
        lease: &Lease,
        subscriptions: &[i64],
    ) -> Result<Vec<Blocked>, StoreError> {
        either!(self, blocked(lease, subscriptions))
    }

    async fn let_go(
        &self,
        lease: &Lease,
        keys: &[(i64, OrderKey)],
    ) -> Result<Vec<LetGo>, StoreError> {
        either!(self, let_go(lease, keys))
    }

    async fn transition(
        &self,
        lease: &Lease,
        transitions: &[Transition],
    ) -> Result<Vec<i64>, StoreError> {
        either!(self, transition(lease, transitions))
    }

    async fn cases(&self, lease: &Lease, now: Timestamp) -> Result<Vec<Case>, StoreError> {
        either!(self, cases(lease, now))
    }

    async fn claim(
        &self,
        lease: &Lease,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        either!(self, claim(lease, claims, now, until))
    }

    async fn facts(&self, subscription: i64) -> Result<Facts, StoreError> {
        either!(self, facts(subscription))
    }

    async fn told(&self, tellings: &[Telling], now: Timestamp) -> Result<(), StoreError> {
        either!(self, told(tellings, now))
    }

    async fn work_off(&self, lease: &Lease, now: Timestamp) -> Result<WorkedOff, StoreError> {
        either!(self, work_off(lease, now))
    }

    async fn weigh(
        &self,
        lease: &Lease,
        limit: Option<u64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        either!(self, weigh(lease, limit, now))
    }

    async fn expire(
        &self,
        lease: &Lease,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<WorkedOff, StoreError> {
        either!(self, expire(lease, retention, now))
    }

    async fn forget(&self, retention: &Retention, now: Timestamp) -> Result<Forgotten, StoreError> {
        either!(self, forget(retention, now))
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        either!(self, maintain(now))
    }

    async fn remaining(&self, now: Timestamp) -> Result<Remaining, StoreError> {
        either!(self, remaining(now))
    }
}

impl Registry for Store {
    async fn add<'a>(
        &self,
        settings: &Settings,
        credentials: &Credentials,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        either!(self, add(settings, credentials, by))
    }

    async fn find(&self, id: SubscriptionId) -> Result<Subscription, StoreError> {
        either!(self, find(id))
    }

    async fn list(&self, client: Option<ClientId>) -> Result<Vec<Subscription>, StoreError> {
        either!(self, list(client))
    }

    async fn set<'a>(
        &self,
        id: SubscriptionId,
        settings: &Settings,
        anew: Anew<'_>,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        either!(self, set(id, settings, anew, by))
    }

    async fn pause<'a>(
        &self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        either!(self, pause(id, by))
    }

    async fn resume<'a>(
        &self,
        id: SubscriptionId,
        held: Held,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        either!(self, resume(id, held, by))
    }

    async fn rotate<'a>(
        &self,
        id: SubscriptionId,
        secret: Option<&Secret>,
        until: Option<Timestamp>,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        either!(self, rotate(id, secret, until, by))
    }

    async fn remove<'a>(
        &self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Removed, StoreError> {
        either!(self, remove(id, by))
    }

    async fn credentials(&self, id: SubscriptionId) -> Result<Credentials, StoreError> {
        either!(self, credentials(id))
    }

    async fn event(&self, id: EventId) -> Result<EventRecord, StoreError> {
        either!(self, event(id))
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        either!(self, deliveries(filter, after, limit))
    }

    async fn count(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        either!(self, count(filter))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, StoreError> {
        either!(self, delivery(id))
    }

    async fn transitions(&self, id: SubscriptionId) -> Result<Vec<TransitionRecord>, StoreError> {
        either!(self, transitions(id))
    }

    async fn alerts(&self) -> Result<Vec<AlertRecord>, StoreError> {
        either!(self, alerts())
    }

    async fn retry<'a>(
        &self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<CommandAccepted, StoreError> {
        either!(self, retry(id, by))
    }

    async fn cancel<'a>(
        &self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<CommandAccepted, StoreError> {
        either!(self, cancel(id, by))
    }

    async fn replay<'a>(
        &self,
        draft: &ReplayDraft,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        either!(self, replay(draft, by))
    }

    async fn pause_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        either!(self, pause_replay(id, by))
    }

    async fn resume_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        either!(self, resume_replay(id, by))
    }

    async fn cancel_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        either!(self, cancel_replay(id, by))
    }

    async fn tally(&self, choice: &ReplayChoice) -> Result<Vec<(SubscriptionId, u64)>, StoreError> {
        either!(self, tally(choice))
    }

    async fn audit(
        &self,
        client: Option<ClientId>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<AuditRecord>, StoreError> {
        either!(self, audit(client, after, limit))
    }

    async fn record<'a>(
        &self,
        deed: &Deed,
        by: impl Into<By<'a>> + Send,
    ) -> Result<(), StoreError> {
        either!(self, record(deed, by))
    }

    async fn replay_state(&self, id: ReplayId) -> Result<Replay, StoreError> {
        either!(self, replay_state(id))
    }

    async fn replays(&self) -> Result<Vec<Replay>, StoreError> {
        either!(self, replays())
    }

    async fn pause_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Stop, StoreError> {
        either!(self, pause_campaign(campaign, by))
    }

    async fn cancel_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Stop, StoreError> {
        either!(self, cancel_campaign(campaign, by))
    }

    async fn resume_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Option<Stop>, StoreError> {
        either!(self, resume_campaign(campaign, by))
    }

    async fn campaign(&self, campaign: &Campaign) -> Result<CampaignReport, StoreError> {
        either!(self, campaign(campaign))
    }

    async fn campaign_clients(&self, campaign: &str) -> Result<Vec<ClientId>, StoreError> {
        either!(self, campaign_clients(campaign))
    }

    async fn owned(&self) -> Result<bool, StoreError> {
        either!(self, owned())
    }

    async fn whereabouts(&self, id: EventId) -> Result<Whereabouts, StoreError> {
        either!(self, whereabouts(id))
    }

    async fn erase(
        &self,
        whose: &Erasure,
        by: By<'_>,
        tell: &(dyn Fn(&Erased) + Sync),
    ) -> Result<Erased, StoreError> {
        either!(self, erase(whose, by, tell))
    }

    async fn outlived(
        &self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Outlived, StoreError> {
        either!(self, outlived(retention, now))
    }

    async fn survey(&self) -> Result<Survey, StoreError> {
        either!(self, survey())
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        either!(self, keys())
    }

    async fn prepare_key(&self) -> Result<String, StoreError> {
        either!(self, prepare_key())
    }

    async fn rotate_key(
        &self,
        by: By<'_>,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<KeyRotated, StoreError> {
        either!(self, rotate_key(by, tell))
    }

    async fn add_token(
        &self,
        token: &Token,
        draft: &TokenDraft,
        by: By<'_>,
    ) -> Result<TokenRecord, StoreError> {
        either!(self, add_token(token, draft, by))
    }

    async fn tokens(&self, client: Option<ClientId>) -> Result<Vec<TokenRecord>, StoreError> {
        either!(self, tokens(client))
    }

    async fn revoke_token(&self, id: TokenId, by: By<'_>) -> Result<TokenRecord, StoreError> {
        either!(self, revoke_token(id, by))
    }

    async fn token(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        either!(self, token(hash, now))
    }

    async fn used_token(&self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        either!(self, used_token(id, now))
    }

    async fn has_tokens(&self, now: Timestamp) -> Result<bool, StoreError> {
        either!(self, has_tokens(now))
    }
}
