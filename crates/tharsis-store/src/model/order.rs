//! Deliveries that go one after the other.

use std::collections::BTreeMap;

use tharsis_core::order::{By, OnDead, OrderKey};

use super::Model;
use crate::{ASIDE, Blocked, Due, KEPT, Lease, LetGo, PARKED, StoreError, order::LET_GO};

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
        let is_asked = |number: i64| {
            let is_named = subscriptions.is_empty() || subscriptions.contains(&number);
            is_named && ours.contains(self.shard(number))
        };
        let mut keys: BTreeMap<(i64, OrderKey), Blocked> = BTreeMap::new();
        for row in &self.rows {
            let (subscription, seq) = (row.position.subscription, row.position.seq);
            let (Some(key), Some(waits)) = (row.key, self.waits(row)) else {
                continue;
            };
            if !is_asked(subscription) {
                continue;
            }
            let blocked = keys.entry((subscription, key)).or_insert(Blocked {
                subscription,
                key,
                first: None,
                parked: None,
            });
            if waits {
                blocked.parked = Some(blocked.parked.map_or(seq, |first| first.min(seq)));
            } else if blocked.first.is_none_or(|first| seq < first.seq) {
                blocked.first = Some(row.position);
            }
        }
        Ok(keys.into_values().collect())
    }

    /// Whether a row lies aside, is kept, or waits for one that is.
    pub(super) fn is_kept_back(&self, row: &Due) -> bool {
        let key = match row.position.lane {
            ASIDE | KEPT => return true,
            PARKED => row.key,
            _ => self
                .is_strict(row.position.subscription)
                .then_some(OrderKey::STRICT),
        };
        self.rows.iter().any(|kept| {
            let is_of = kept.position.subscription == row.position.subscription;
            is_of && kept.position.lane == KEPT && key.is_some() && kept.key == key
        })
    }

    fn is_strict(&self, subscription: i64) -> bool {
        let target = self.targets.get(&subscription);
        let order = target.and_then(|target| target.subscription.settings.order.as_ref());
        order.is_some_and(|order| order.by == By::Strict)
    }

    /// Whether a row waits for others, or others for it; neither where it lies aside.
    fn waits(&self, row: &Due) -> Option<bool> {
        let target = self.targets.get(&row.position.subscription);
        let order = target.and_then(|target| target.subscription.settings.order.as_ref());
        match row.position.lane {
            0 => Some(false),
            KEPT => Some(order.is_none_or(|order| order.on_dead != OnDead::Hold)),
            PARKED => Some(true),
            _ => None,
        }
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
        let target = self.targets.get(&subscription);
        let is_ordered = target.is_some_and(|target| target.subscription.settings.order.is_some());
        let done = |upto, waits| LetGo {
            subscription,
            key,
            upto,
            waits,
        };
        let (mut back, mut next) = (Vec::new(), Vec::new());
        for (n, row) in self.rows.iter().enumerate() {
            if row.position.subscription != subscription || row.key != Some(key) {
                continue;
            }
            match self.waits(row) {
                Some(true) => next.push((row.position.seq, n)),
                Some(false) if is_ordered => back.push(row.position.seq),
                Some(false) | None => {}
            }
        }
        if let Some(first) = back.into_iter().min() {
            return done(Some(first), true);
        }
        next.sort_unstable();
        let most = usize::try_from(LET_GO).expect("few");
        let is_more = next.len() > most;
        next.truncate(most);
        let due_at = next
            .iter()
            .map(|(_, n)| self.rows[*n].position.due_at)
            .min();
        let last = next.last().map(|(seq, _)| *seq).filter(|_| is_more);
        for (seq, n) in next {
            let row = &mut self.rows[n];
            row.position.lane = 0;
            row.position.due_at = due_at.unwrap_or(row.position.due_at);
            // Those after them wait for the last.
            row.key = row.key.filter(|_| last == Some(seq));
        }
        done(last, false)
    }
}
