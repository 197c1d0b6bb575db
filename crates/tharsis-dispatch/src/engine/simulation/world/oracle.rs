//! What must hold in the end, whatever happened.

use std::collections::BTreeMap;

use tharsis_core::DeliveryId;

use super::World;

impl World {
    /// Each request that reached its receiver is in the history.
    pub(in crate::engine::simulation) fn assert_attempts_are_recorded(&self) {
        let mut received: BTreeMap<DeliveryId, usize> = BTreeMap::new();
        for request in &self.received {
            *received.entry(request.id).or_default() += 1;
        }
        for (id, times) in received {
            let recorded = self.model.attempts.get(&id).map_or(0, Vec::len);
            assert_eq!(times, recorded, "requests and attempts of {id}");
        }
    }
}
