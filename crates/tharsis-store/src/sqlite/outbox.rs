//! The hot side, as its trait has it.

use bytes::Bytes;
use tharsis_core::{
    EventId, Invalid, Timestamp, WorkerId,
    alert::{Case, Facts},
    event::Event,
    order::OrderKey,
};

use super::{
    SqliteStore, alert, backlog, command, due, health, minute, order, owner, registry, remaining,
    retention, route, settle, subscription,
};
use crate::{
    Blocked, Changed, Claim, Claimed, Figures, Forgotten, LaneRead, Lease, LetGo, Outbox, Pending,
    Pointers, Position, Published, Remaining, Retention, Routed, Rows, Settlement, Shards,
    Snapshot, StoreError, Telling, Transition, WorkedOff, publishing,
};

impl Outbox for SqliteStore {
    async fn publish(
        &self,
        events: &[Event],
    ) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
        publishing::publish(self, events).await
    }

    /// It is all or nothing here, so there is no surplus to give back.
    async fn hold(&self, worker: WorkerId, _give: Shards) -> Result<Lease, StoreError> {
        owner::hold(self, worker).await
    }

    async fn release(
        &self,
        lease: &Lease,
        keep: Option<Shards>,
    ) -> Result<Option<Lease>, StoreError> {
        owner::release(self, lease, keep).await
    }

    /// Nobody else writes into its lanes, so there are none to tell of.
    async fn changed(&self, lease: &Lease) -> Result<Changed, StoreError> {
        Ok(Changed {
            shards: false,
            anything: owner::changed(self, lease).await?,
            lanes: Vec::new(),
        })
    }

    async fn weigh(
        &self,
        lease: &Lease,
        limit: Option<u64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        backlog::weigh(self, lease, limit, now).await
    }

    async fn expire(
        &self,
        lease: &Lease,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<WorkedOff, StoreError> {
        retention::expire(self, lease, retention, now).await
    }

    async fn forget(&self, retention: &Retention, now: Timestamp) -> Result<Forgotten, StoreError> {
        retention::forget(self, retention, now).await
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        registry::forget_secrets(self, now).await?;
        health::forget(self, now).await?;
        alert::raise_unreadable(self, now).await?;
        alert::forget(self, now).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        subscription::snapshot(self).await
    }

    async fn pointers(&self, lease: &Lease, limit: u32) -> Result<Pointers, StoreError> {
        route::pointers(self, lease, limit).await
    }

    async fn payloads(&self, events: &[EventId]) -> Result<Vec<Bytes>, StoreError> {
        route::payloads(self, events).await
    }

    async fn route(&self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        route::route(self, lease, routed).await
    }

    async fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        due::lanes(self, lease).await
    }

    async fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        due::due(self, lease, lanes, now).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        settle::settle(self, lease, settlements).await
    }

    async fn blocked(
        &self,
        lease: &Lease,
        subscriptions: &[i64],
    ) -> Result<Vec<Blocked>, StoreError> {
        order::blocked(self, lease, subscriptions).await
    }

    async fn let_go(
        &self,
        lease: &Lease,
        keys: &[(i64, OrderKey)],
    ) -> Result<Vec<LetGo>, StoreError> {
        order::let_go(self, lease, keys).await
    }

    async fn transition(
        &self,
        lease: &Lease,
        transitions: &[Transition],
    ) -> Result<Vec<i64>, StoreError> {
        health::transition(self, lease, transitions).await
    }

    async fn cases(&self, lease: &Lease, now: Timestamp) -> Result<Vec<Case>, StoreError> {
        alert::due(self, lease, now).await
    }

    async fn claim(
        &self,
        lease: &Lease,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        alert::claim(self, lease, claims, now, until).await
    }

    async fn facts(&self, subscription: i64) -> Result<Facts, StoreError> {
        alert::facts(self, subscription).await
    }

    async fn told(&self, tellings: &[Telling], now: Timestamp) -> Result<(), StoreError> {
        alert::told(self, tellings, now).await
    }

    async fn work_off(&self, lease: &Lease, now: Timestamp) -> Result<WorkedOff, StoreError> {
        command::work_off(self, lease, now).await
    }

    async fn add_figures(&self, figures: &Figures) -> Result<(), StoreError> {
        minute::add(self, figures).await
    }

    async fn note_depth(&self, at: Timestamp) -> Result<(), StoreError> {
        minute::note_depth(self, at).await
    }

    async fn remaining(&self, now: Timestamp) -> Result<Remaining, StoreError> {
        remaining::remaining(self, now).await
    }
}
