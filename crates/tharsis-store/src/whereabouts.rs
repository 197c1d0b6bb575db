//! Where an event has got to, and what holds what is left of it.

use std::collections::HashMap;

use tharsis_core::{
    EventId, SubscriptionId, Timestamp, order::OrderKey, subscription::Subscription,
};

use crate::{AttemptRecord, DeliveryDetail, DeliveryRow, EventRecord, KEPT, Shards, Stop};

/// All that says to whom an event went, to whom not, and what its deliveries wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct Whereabouts {
    /// The database's clock when it was read.
    pub now: Timestamp,
    /// The event. Its deliveries stand beside the subscriptions instead.
    pub event: EventRecord,
    /// The subscriptions of its client, oldest first. Of those that were removed the ones that it may have gone to.
    pub candidates: Vec<Candidate>,
    /// What stops its campaign, or its recipient in it.
    pub stops: Vec<Stop>,
    /// The shards that some worker owns.
    pub owned: Shards,
}

/// A subscription that an event may have gone to.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name for ever.
    pub id: SubscriptionId,
    /// Its name.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// As it is at present; `None` once it was removed.
    pub subscription: Option<Subscription>,
    /// Since when an admin, or we, hold it.
    pub held_since: Option<Timestamp>,
    /// The delivery to it, if there is one.
    pub delivery: Option<DeliveryDetail>,
    /// Where that lies, until it ends.
    pub place: Option<Place>,
}

/// Where an unfinished delivery lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// 0 is the live lane; the others are [`ASIDE`](crate::ASIDE), [`KEPT`] and [`PARKED`](crate::PARKED).
    pub lane: u16,
    /// Attempts of the present retry budget that failed.
    pub tries: u32,
    /// The event of the delivery that it waits for: one of the same [order](tharsis_core::order) that was put back or
    /// kept. What is still in line before it, and was never put back, is in memory alone and not told.
    pub behind: Option<EventId>,
}

/// A candidate as it is read, and the row that its delivery has still.
pub(crate) struct CandidateRow {
    pub(crate) candidate: Candidate,
    pub(crate) row: Option<Row>,
}

/// What of a row says where it lies and whom it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) subscription: i64,
    /// The order of routing in its subscription.
    pub(crate) seq: i64,
    pub(crate) lane: u16,
    pub(crate) tries: u32,
    pub(crate) key: Option<i64>,
}

impl CandidateRow {
    /// The row, and the key of what may be before it. Few rows bear theirs, so it is made anew; one that is kept waits for
    /// nobody.
    pub(crate) fn waits_by(&self, event: &EventRecord) -> Option<(Row, OrderKey)> {
        let row = self.row.filter(|row| row.lane != KEPT)?;
        let made = || {
            let settings = &self.candidate.subscription.as_ref()?.settings;
            let order = settings.order.as_ref()?;
            order.by.key(event.recipient.as_deref(), &event.payload)
        };
        Some((row, row.key.map(OrderKey).or_else(made)?))
    }

    /// The candidate, with where its delivery lies and which event is before it.
    pub(crate) fn behind(self, behind: Option<EventId>) -> Candidate {
        let place = self.row.map(|row| Place {
            lane: row.lane,
            tries: row.tries,
            behind,
        });
        Candidate {
            place,
            ..self.candidate
        }
    }
}

/// Puts beside each candidate what else was read of it.
pub(crate) fn fill(
    rows: &mut [CandidateRow],
    present: Vec<Subscription>,
    deliveries: Vec<DeliveryRow>,
    mut attempts: HashMap<SubscriptionId, Vec<AttemptRecord>>,
) {
    let present = present.into_iter().map(|one| (one.id, one));
    let mut present: HashMap<_, _> = present.collect();
    let deliveries = (deliveries.into_iter()).map(|row| (row.id.subscription, row));
    let mut deliveries: HashMap<_, _> = deliveries.collect();
    for CandidateRow { candidate, .. } in rows {
        candidate.subscription = present.remove(&candidate.id);
        let delivery = deliveries.remove(&candidate.id);
        candidate.delivery = delivery.map(|row| DeliveryDetail {
            row,
            attempts: attempts.remove(&candidate.id).unwrap_or_default(),
        });
    }
}

/// What of these stops is about this event.
pub(crate) fn stops_of(event: &EventRecord, stops: Vec<Stop>) -> Vec<Stop> {
    let is_its = |stop: &Stop| {
        let of = &stop.campaign;
        of.client == event.client
            && Some(&of.name) == event.campaign.as_ref()
            && (of.recipient.is_none() || of.recipient == event.recipient)
    };
    stops.into_iter().filter(is_its).collect()
}
