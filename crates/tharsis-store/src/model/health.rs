//! How receivers do.

use tharsis_core::{
    SubscriptionId, Timestamp,
    health::{Condition, Health},
    subscription::State,
};

use super::Model;
use crate::{Lease, StoreError, Transition, TransitionRecord, health::reason};

impl Model {
    /// Writes transitions down. Returns the subscriptions of which somebody had written something newer.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn transition(
        &mut self,
        lease: &Lease,
        transitions: &[Transition],
    ) -> Result<Vec<i64>, StoreError> {
        let ours = self.ours(lease)?.with(lease.surplus);
        let mut left_alone = Vec::new();
        for Transition {
            subscription,
            health,
            ..
        } in transitions
        {
            if left_alone.contains(subscription) {
                continue;
            }
            let is_ours = ours.contains(self.shard(*subscription));
            match self.targets.get_mut(subscription).filter(|_| is_ours) {
                Some(target) if target.subscription.health.version + 1 == health.version => {
                    let before = std::mem::replace(&mut target.subscription.health, health.clone());
                    if before.condition != health.condition || before.version == 0 {
                        self.record_transition(*subscription, health);
                    }
                    if let Some(reason) = reason(health) {
                        self.suspend(*subscription, reason);
                    }
                }
                _ => left_alone.push(*subscription),
            }
        }
        Ok(left_alone)
    }

    pub(super) fn suspend(&mut self, number: i64, reason: &str) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        let subscription = &mut target.subscription;
        if !matches!(subscription.state, State::Suspended { .. }) {
            subscription.state = State::Suspended {
                reason: reason.to_owned(),
            };
            subscription.version += 1;
            self.revision += 1;
        }
    }

    /// One delivery is to show whether it is back.
    pub(super) fn half_open(&mut self, number: i64, cause: &str, now: Timestamp) {
        let Some(target) = self.targets.get_mut(&number) else {
            return;
        };
        let health = Health {
            condition: Condition::HalfOpen,
            since: Some(now),
            cause: Some(cause.to_owned()),
            version: target.subscription.health.version + 1,
            ..Health::default()
        };
        target.subscription.health = health.clone();
        self.record_transition(number, &health);
    }

    fn record_transition(&mut self, number: i64, health: &Health) {
        let record = TransitionRecord {
            at: health.since.expect("a transition has an instant"),
            became: health.condition,
            cause: health.cause.clone(),
        };
        self.transitions.entry(number).or_default().push(record);
    }

    /// What a receiver has been through, newest first.
    pub fn transitions(&self, id: SubscriptionId) -> Vec<TransitionRecord> {
        let number = self.known.iter().find(|(_, known)| known.id == id);
        let records = number.and_then(|(number, _)| self.transitions.get(number));
        records.into_iter().flatten().rev().cloned().collect()
    }
}
