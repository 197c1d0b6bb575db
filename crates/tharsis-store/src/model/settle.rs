//! What came of attempts.

use tharsis_core::{DeliveryId, delivery::End};

use super::Model;
use crate::{
    ASIDE, Attempt, AttemptRecord, Fate, KEPT, Lease, PARKED, Position, Settlement, Shards,
    StoreError,
};

impl Model {
    /// Records attempts and moves or ends deliveries, also in what is surplus: it is owned until it is given back.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn settle(
        &mut self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        let owned = self.leases.check(lease)?;
        let left_alone = settlements
            .iter()
            .filter(|settlement| !self.settle_one(owned, settlement))
            .map(|settlement| settlement.position)
            .collect();
        Ok(left_alone)
    }

    /// Says whether it was taken in.
    fn settle_one(&mut self, owned: Shards, settlement: &Settlement) -> bool {
        let position = settlement.position;
        let is_ours = owned.contains(self.shard(position.subscription));
        let as_read = self.rows.iter().position(|row| {
            is_ours
                && (row.position, row.id.event) == (position, settlement.event)
                && row.attempts == settlement.attempts
        });
        match (as_read, &settlement.attempt, settlement.fate) {
            (Some(_), _, Fate::Aside) if !self.is_paused(settlement.event) => return false,
            (Some(n), ..) => self.change(n, settlement),
            (None, Some(attempt), Fate::Ended(End::Delivered)) => {
                self.succeed_late(settlement, attempt);
            }
            _ => return false,
        }
        true
    }

    /// The row is as it was read.
    fn change(&mut self, n: usize, settlement: &Settlement) {
        let row = &mut self.rows[n];
        let id = row.id;
        if let Some(attempt) = &settlement.attempt {
            row.attempts = row.attempts.max(attempt.number);
        }
        let replay = row.position.replay;
        let (end, due_at) = match settlement.fate {
            Fate::Ended(end) => {
                self.rows.remove(n);
                self.ended.insert(id, end);
                (Some(end), None)
            }
            Fate::Again { due_at, spent } => {
                row.position.due_at = due_at;
                row.spent = spent;
                row.key = settlement.key;
                (None, Some(due_at))
            }
            Fate::Parked { due_at, spent } => {
                row.position.lane = PARKED;
                row.position.due_at = due_at;
                row.spent = spent;
                row.key = settlement.key;
                (None, None)
            }
            Fate::Kept { spent } => {
                row.position.lane = KEPT;
                row.spent = spent;
                row.key = settlement.key;
                (None, None)
            }
            Fate::Aside => {
                row.position.lane = ASIDE;
                (None, None)
            }
        };
        if let Some(attempt) = &settlement.attempt {
            self.record(id, attempt.clone(), end, due_at);
            if end.is_some() && replay > 0 {
                self.ended_under.insert(id, replay);
            }
        }
        if let Some(reason) = settlement.suspend {
            self.suspend(settlement.position.subscription, reason);
        }
    }

    /// A success counts wherever its row has gone: to another due time, or out of the outbox by another end. What a replay
    /// made due again since is another row, and stays, with one attempt more.
    fn succeed_late(&mut self, settlement: &Settlement, attempt: &Attempt) {
        let id = DeliveryId {
            event: settlement.event,
            subscription: self.known[&settlement.position.subscription].id,
        };
        let before = self.attempts.get(&id);
        let is_written_again = before.into_iter().flatten().any(|record| {
            let other = &record.attempt;
            record.end == Some(End::Delivered)
                && (other.at, other.duration) == (attempt.at, attempt.duration)
        });
        if is_written_again {
            return;
        }
        let is_it = |row: &crate::Due| row.id == id && row.position.seq == settlement.position.seq;
        let under = (self.rows.iter().find(|row| is_it(row))).map(|row| row.position.replay);
        self.rows.retain(|row| !is_it(row));
        let number = attempt.number.max(self.made(id) + 1);
        let attempt = Attempt {
            number,
            ..attempt.clone()
        };
        self.record(id, attempt, Some(End::Delivered), None);
        if let Some(replay) = under.filter(|replay| *replay > 0) {
            self.ended_under.insert(id, replay);
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            row.attempts = number;
            self.ended.remove(&id);
        }
    }

    /// Of ends without a request the newest is kept.
    pub(super) fn record(
        &mut self,
        id: DeliveryId,
        attempt: Attempt,
        end: Option<End>,
        due_at: Option<tharsis_core::Timestamp>,
    ) {
        let records = self.attempts.entry(id).or_default();
        if attempt.number == 0 {
            records.retain(|record| record.attempt.number != 0);
        }
        records.push(AttemptRecord {
            attempt,
            end,
            due_at,
        });
        if let Some(end) = end {
            self.ended.insert(id, end);
            self.ended_under.remove(&id);
        }
    }

    /// How many attempts were made of a delivery, over all replays.
    pub(super) fn made(&self, id: DeliveryId) -> u32 {
        let records = self.attempts.get(&id).into_iter().flatten();
        records
            .map(|record| record.attempt.number)
            .max()
            .unwrap_or(0)
    }
}
