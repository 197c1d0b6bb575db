use super::SqliteStore;
use crate::*;
use tharsis_core::*;
use tharsis_core::{
    event::Event,
    secret::Secret,
    subscription::{Settings, Subscription},
};

pub(super) fn not_built() -> StoreError {
    StoreError::Unusable {
        code: "not_built",
        message: "not built yet".into(),
        hint: String::new(),
    }
}
impl Outbox for SqliteStore {
    async fn publish(
        &self,
        events: &[Event],
    ) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
        let _ = (events);
        Err(not_built())
    }
    async fn hold(&self, worker: WorkerId) -> Result<Lease, StoreError> {
        let _ = (worker);
        Err(not_built())
    }
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let _ = (lease);
        Err(not_built())
    }
    async fn changed(&self) -> Result<bool, StoreError> {
        let _ = ();
        Err(not_built())
    }
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let _ = ();
        Err(not_built())
    }
    async fn pointers(&self, lease: &Lease, limit: u32) -> Result<Pointers, StoreError> {
        let _ = (lease, limit);
        Err(not_built())
    }
    async fn route(&self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        let _ = (lease, routed);
        Err(not_built())
    }
    async fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        let _ = (lease);
        Err(not_built())
    }
    async fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        let _ = (lease, lanes, now);
        Err(not_built())
    }
    async fn settle(
        &self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        let _ = (lease, settlements);
        Err(not_built())
    }
    async fn work_off(&self, lease: &Lease, now: Timestamp) -> Result<WorkedOff, StoreError> {
        let _ = (lease, now);
        Err(not_built())
    }
    async fn remaining(&self, now: Timestamp) -> Result<Remaining, StoreError> {
        let _ = (now);
        Err(not_built())
    }
}
impl Registry for SqliteStore {
    async fn add(
        &self,
        settings: &Settings,
        secret: Option<&Secret>,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let _ = (settings, secret, now);
        Err(not_built())
    }
    async fn find(&self, id: SubscriptionId) -> Result<Subscription, StoreError> {
        let _ = (id);
        Err(not_built())
    }
    async fn list(&self, client: Option<ClientId>) -> Result<Vec<Subscription>, StoreError> {
        let _ = (client);
        Err(not_built())
    }
    async fn set(
        &self,
        id: SubscriptionId,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let _ = (id, settings, now);
        Err(not_built())
    }
    async fn pause(&self, id: SubscriptionId, now: Timestamp) -> Result<Subscription, StoreError> {
        let _ = (id, now);
        Err(not_built())
    }
    async fn resume(&self, id: SubscriptionId, now: Timestamp) -> Result<Subscription, StoreError> {
        let _ = (id, now);
        Err(not_built())
    }
    async fn rotate(
        &self,
        id: SubscriptionId,
        secret: Option<&Secret>,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let _ = (id, secret, now);
        Err(not_built())
    }
    async fn remove(&self, id: SubscriptionId, now: Timestamp) -> Result<Removed, StoreError> {
        let _ = (id, now);
        Err(not_built())
    }
    async fn secret(&self, id: SubscriptionId) -> Result<Option<Secret>, StoreError> {
        let _ = (id);
        Err(not_built())
    }
    async fn event(&self, id: EventId) -> Result<EventRecord, StoreError> {
        let _ = (id);
        Err(not_built())
    }
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let _ = (filter, after, limit);
        Err(not_built())
    }
    async fn count(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        let _ = (filter);
        Err(not_built())
    }
    async fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, StoreError> {
        let _ = (id);
        Err(not_built())
    }
    async fn retry(&self, id: DeliveryId, now: Timestamp) -> Result<CommandAccepted, StoreError> {
        let _ = (id, now);
        Err(not_built())
    }
    async fn cancel(&self, id: DeliveryId, now: Timestamp) -> Result<CommandAccepted, StoreError> {
        let _ = (id, now);
        Err(not_built())
    }
    async fn replay(&self, choice: &ReplayChoice, now: Timestamp) -> Result<Replay, StoreError> {
        let _ = (choice, now);
        Err(not_built())
    }
    async fn replay_state(&self, id: ReplayId) -> Result<Replay, StoreError> {
        let _ = (id);
        Err(not_built())
    }
    async fn replays(&self) -> Result<Vec<Replay>, StoreError> {
        let _ = ();
        Err(not_built())
    }
    async fn owned(&self) -> Result<bool, StoreError> {
        let _ = ();
        Err(not_built())
    }
}
