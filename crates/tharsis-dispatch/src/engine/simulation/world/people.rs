//! What people do.

use std::time::Duration;

use tharsis_core::{ClientId, EventId, Timestamp, subscription::Target};
use tharsis_store::Campaign;

use super::{Receiver, World};

/// Every client has one of this name.
const CAMPAIGN: &str = "spring";

fn campaign(client: ClientId) -> Campaign {
    Campaign {
        client,
        name: CAMPAIGN.to_owned(),
        recipient: None,
    }
}

impl World {
    pub(in crate::engine::simulation) fn publish(&mut self, client: ClientId) -> EventId {
        self.publish_with(client, None, None)
    }

    pub(in crate::engine::simulation) fn publish_with(
        &mut self,
        client: ClientId,
        expires_in: Option<Duration>,
        starts_in: Option<Duration>,
    ) -> EventId {
        let event = self.model.publish(client, expires_in, starts_in, self.now);
        // Every other one.
        if self.published.len().is_multiple_of(2) {
            self.model.label(event, CAMPAIGN);
        }
        self.flush();
        self.published.push((event, client));
        self.promise(event, client);
        event
    }

    pub(in crate::engine::simulation) fn pause(&mut self, lane: i64) {
        self.model.pause(lane);
        self.flush();
        self.paused_since.entry(lane).or_insert(self.now);
    }

    pub(in crate::engine::simulation) fn resume(&mut self, lane: i64) {
        self.model.resume(lane);
        self.flush();
        self.paused_since.remove(&lane);
    }

    pub(in crate::engine::simulation) fn pause_campaign(&mut self, client: ClientId) {
        // One that is cancelled is not paused.
        let _ = self
            .model
            .pause_campaign(&campaign(client), Timestamp::default());
        self.flush();
    }

    pub(in crate::engine::simulation) fn resume_campaign(&mut self, client: ClientId) {
        self.model.resume_campaign(&campaign(client));
        self.flush();
    }

    pub(in crate::engine::simulation) fn cancel_campaign(&mut self, client: ClientId) {
        self.model
            .cancel_campaign(&campaign(client), Timestamp::default());
        self.flush();
    }

    pub(in crate::engine::simulation) fn add(
        &mut self,
        lane: i64,
        target: Target,
        receiver: Receiver,
    ) {
        self.receivers.insert(lane, receiver);
        self.model.add(lane, target);
        self.flush();
    }

    pub(in crate::engine::simulation) fn remove(&mut self, lane: i64) {
        self.model.remove(lane);
        self.flush();
    }

    pub(in crate::engine::simulation) fn retry(&mut self, number: usize) {
        self.model.retry(number);
        self.flush();
    }

    pub(in crate::engine::simulation) fn cancel(&mut self, number: usize) {
        self.model.cancel(number);
        self.flush();
    }

    /// Another router writes a delivery into a lane, and nobody tells its owner.
    pub(in crate::engine::simulation) fn write_unseen(&mut self, lane: i64) -> EventId {
        let client = self.model.targets[&lane].subscription.settings.client;
        let event = self.model.write_unseen(lane, self.now);
        self.promise(event, client);
        event
    }
}
