//! What the database says of itself.

use std::collections::BTreeMap;

use tharsis::{
    Registry,
    store::{Gauges, KeyState, StoreError},
    subscription::Unreadable,
};

use crate::Problem;

/// What was gathered of the database.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) gauges: Gauges,
    /// How many subscriptions are of each state and condition.
    pub(super) subscriptions: BTreeMap<(&'static str, &'static str), u64>,
    /// How many of them have a secret that does not open.
    pub(super) unsigned: u64,
    /// Whether the key that seals is here.
    pub(super) has_key: bool,
}

impl Figures {
    pub(super) async fn gather(registry: &impl Registry) -> Result<Self, Problem> {
        let gauges = registry.gauges().await?;
        let mut subscriptions = BTreeMap::new();
        let mut unsigned = 0;
        for subscription in registry.list(None).await? {
            let (state, health) = (&subscription.state, &subscription.health);
            let of = (state.as_str(), health.condition.as_str());
            *subscriptions.entry(of).or_default() += 1;
            if state.unreadable() == Some(Unreadable::Secret) {
                unsigned += 1;
            }
        }
        let has_key = match registry.keys().await {
            // A file that is not one of keys is as good as none.
            Err(StoreError::Unusable { .. }) => false,
            keys => {
                let keys = keys?;
                let sealing = keys.iter().find(|key| key.state == KeyState::Sealing);
                sealing.is_none_or(|key| key.is_here)
            }
        };
        Ok(Self {
            gauges,
            subscriptions,
            unsigned,
            has_key,
        })
    }
}
