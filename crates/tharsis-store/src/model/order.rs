//! Deliveries that go one after the other.

use std::collections::BTreeMap;

use tharsis_core::order::OrderKey;

use super::Model;
use crate::{Blocked, Due, KEPT, Lease, LetGo, PARKED, StoreError, order::LET_GO};

impl Model {
    /// The keys of these subscriptions of which somebody waits.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn blocked(
        &self,
        lease: &Lease,
        subscriptions: &[i64],
    ) -> Result<Vec<Blocked>, StoreError> {
        let ours = self.ours(lease)?;
        let mut keys: BTreeMap<(i64, OrderKey), Blocked> = BTreeMap::new();
        for row in &self.rows {
            let subscription = row.position.subscription;
            let is_asked = subscriptions.contains(&subscription);
            let Some(key) = row
                .key
                .filter(|_| is_asked && ours.contains(self.shard(subscription)))
            else {
                continue;
            };
            if !matches!(row.position.lane, 0 | KEPT | PARKED) {
                continue;
            }
            let blocked = keys.entry((subscription, key)).or_insert(Blocked {
                subscription,
                key,
                first: None,
                parked: None,
            });
            let seq = row.position.seq;
            if row.position.lane == PARKED {
                blocked.parked = Some(blocked.parked.map_or(seq, |first| first.min(seq)));
            } else if blocked.first.is_none_or(|first| seq < first.seq) {
                blocked.first = Some(row.position);
            }
        }
        Ok(keys.into_values().collect())
    }

    /// Lets the next deliveries of these keys go.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn let_go(
        &mut self,
        lease: &Lease,
        keys: &[(i64, OrderKey)],
    ) -> Result<Vec<LetGo>, StoreError> {
        let ours = self.ours(lease)?;
        let keys = keys.iter().filter(|(of, _)| ours.contains(self.shard(*of)));
        let keys: Vec<(i64, OrderKey)> = keys.copied().collect();
        let done = keys.into_iter();
        Ok(done.map(|(of, key)| self.next_of_key(of, key)).collect())
    }

    fn next_of_key(&mut self, subscription: i64, key: OrderKey) -> LetGo {
        let is_of =
            |row: &&mut Due| row.position.subscription == subscription && row.key == Some(key);
        let (mut parked, back): (Vec<&mut Due>, Vec<&mut Due>) = (self.rows.iter_mut())
            .filter(is_of)
            .filter(|row| matches!(row.position.lane, 0 | KEPT | PARKED))
            .partition(|row| row.position.lane == PARKED);
        let done = |upto, waits| LetGo {
            subscription,
            key,
            upto,
            waits,
        };
        if let Some(first) = back.iter().map(|row| row.position.seq).min() {
            return done(Some(first), true);
        }
        parked.sort_by_key(|row| row.position.seq);
        let most = usize::try_from(LET_GO).expect("few");
        let is_more = parked.len() > most;
        let mut last = None;
        parked.truncate(most);
        let due_at = parked.iter().map(|row| row.position.due_at).min();
        for row in parked {
            row.position.lane = 0;
            row.position.due_at = due_at.unwrap_or(row.position.due_at);
            row.key = None;
            last = Some(row.position.seq);
        }
        done(last.filter(|_| is_more), false)
    }
}
