//! What people look at.

use std::collections::BTreeSet;

use tharsis_core::{DeliveryId, EventId, delivery::End};

use super::{Model, count, not_found};
use crate::{DeliveryDetail, DeliveryFilter, DeliveryRow, EventRecord, Status, StoreError};

impl Model {
    /// Deliveries that match, newest event first.
    pub fn deliveries(&self, filter: &DeliveryFilter) -> Vec<DeliveryRow> {
        let mut matching: Vec<(i64, i64, DeliveryRow)> = self
            .all()
            .into_iter()
            .filter_map(|id| self.line(id))
            .filter(|line| matches(filter, line))
            .map(|line| {
                let seq = self.events[&line.id.event].pointer.seq;
                let number = self.number(line.id.subscription).unwrap_or_default();
                (seq, number, line)
            })
            .collect();
        matching.sort_by_key(|(seq, number, _)| (-seq, -number));
        matching.into_iter().map(|(.., line)| line).collect()
    }

    /// How many match.
    pub fn count(&self, filter: &DeliveryFilter) -> u64 {
        count(self.deliveries(filter).len())
    }

    /// All deliveries that there ever were.
    fn all(&self) -> BTreeSet<DeliveryId> {
        let unfinished = self.rows.iter().map(|row| row.id);
        unfinished.chain(self.attempts.keys().copied()).collect()
    }

    /// One delivery with its attempts.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, StoreError> {
        Ok(DeliveryDetail {
            row: self.line(id).ok_or_else(|| not_found("delivery", &id))?,
            attempts: self.attempts.get(&id).cloned().unwrap_or_default(),
        })
    }

    /// One event with the state of each of its deliveries.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn event(&self, id: EventId) -> Result<EventRecord, StoreError> {
        let stored = self
            .events
            .get(&id)
            .ok_or_else(|| not_found("event", &id))?;
        let pointer = &stored.pointer;
        let mut deliveries = self.deliveries(&DeliveryFilter {
            event: Some(id),
            ..DeliveryFilter::default()
        });
        deliveries.reverse();
        Ok(EventRecord {
            id,
            event_type: pointer.event_type.clone().into_string(),
            client: pointer.client,
            campaign: stored.campaign.clone(),
            recipient: stored.recipient.clone(),
            published_at: pointer.published_at,
            not_before: pointer.not_before,
            expires_at: pointer.expires_at,
            routed: !self.pointers.contains_key(&pointer.seq),
            refused: stored.refused.clone(),
            payload: stored.payload.clone(),
            deliveries,
        })
    }

    /// How it stands with a delivery, if there is, or was, such a one.
    pub(super) fn line(&self, id: DeliveryId) -> Option<DeliveryRow> {
        let row = self.rows.iter().find(|row| row.id == id);
        let last = self.attempts.get(&id).and_then(|records| records.last());
        let number = self.number(id.subscription)?;
        let expires_at = self.events[&id.event].pointer.expires_at;
        let is_expired = self.clock >= expires_at && expires_at.is_some();
        let status = match row {
            Some(_) if is_expired => Status::Ended(End::Expired),
            Some(row) if self.is_kept_back(row) || self.is_held(number) => Status::Held,
            Some(row) if row.spent.tries > 0 => Status::Retrying,
            Some(_) => Status::Pending,
            None => Status::Ended(*self.ended.get(&id)?),
        };
        let stored = &self.events[&id.event];
        Some(DeliveryRow {
            id,
            event_type: stored.pointer.event_type.clone().into_string(),
            client: stored.pointer.client,
            campaign: stored.campaign.clone(),
            subscription_name: self.known[&number].name.clone(),
            status,
            attempts: row.map_or_else(|| self.made(id), |row| row.attempts),
            code: last.map(|last| last.attempt.code.clone()),
            published_at: stored.pointer.published_at,
            last_at: last.map(|last| last.attempt.at),
            due_at: row.map(|row| row.position.due_at),
        })
    }
}

pub(super) fn matches(filter: &DeliveryFilter, line: &DeliveryRow) -> bool {
    fn any<T: PartialEq>(of: &[T], one: &T) -> bool {
        of.is_empty() || of.contains(one)
    }
    any(&filter.status, &line.status)
        && any(&filter.subscription, &line.id.subscription)
        && any(&filter.event_type, &line.event_type)
        && filter.client.is_none_or(|client| client == line.client)
        && filter.event.is_none_or(|event| event == line.id.event)
        && (filter.campaign.is_none() || filter.campaign == line.campaign)
        && filter.since.is_none_or(|since| line.published_at >= since)
        && filter.until.is_none_or(|until| line.published_at < until)
        && filter.ended_since.is_none_or(|since| {
            matches!(line.status, Status::Ended(_)) && line.last_at.is_some_and(|at| at >= since)
        })
}
