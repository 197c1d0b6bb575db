//! What must hold, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use tharsis_core::{DeliveryId, delivery::End};

use super::World;

impl World {
    /// A receiver takes a delivery once, and once more for each time that we lost what came of a request.
    pub(in crate::engine::simulation) fn assert_duplicates_are_explained(&self) {
        let mut taken: BTreeMap<DeliveryId, usize> = BTreeMap::new();
        for received in self.received.iter().filter(|r| r.taken) {
            *taken.entry(received.id).or_default() += 1;
        }
        for (id, times) in taken {
            let excused = self.excused.get(&id).copied().unwrap_or_default();
            assert!(
                times <= 1 + excused,
                "{id} was taken {times} times, {excused} excused"
            );
        }
    }

    /// Each delivery that ended `delivered` was taken; each that was taken ended so, unless an admin was faster, or we
    /// lost what came of the request.
    pub(in crate::engine::simulation) fn assert_ends_are_true(&self) {
        let taken: BTreeSet<DeliveryId> = self
            .received
            .iter()
            .filter(|r| r.taken)
            .map(|r| r.id)
            .collect();
        let unfinished = self.model.deliveries();
        for (id, end) in &self.model.ended {
            let taken = taken.contains(id);
            match end {
                End::Delivered => assert!(taken, "{id} was never taken"),
                End::Dead | End::Refused | End::Expired => {
                    let lost = self.excused.contains_key(id);
                    assert!(!taken || lost, "{id} was taken and ended {end:?}");
                }
                End::Cancelled => {}
            }
            assert!(!unfinished.contains(id), "{id} has ended twice");
        }
        for (id, attempts) in &self.model.attempts {
            // An end without a request is number 0, whatever attempts were made before it.
            let numbers = attempts.iter().map(|one| one.attempt.number);
            let requests: Vec<_> = numbers.filter(|&n| n != 0).collect();
            let mut sorted = requests.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(
                sorted, requests,
                "attempts of {id} are numbered in order, each once"
            );
        }
    }

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
