//! Campaigns that are stopped.

use tharsis_core::{EventId, Timestamp};

use super::{
    Model,
    command::{Command, Kind},
};
use crate::{Campaign, Named, Stop, StopState, StoreError, campaign::is_cancelled};

impl Model {
    /// Holds a campaign.
    ///
    /// # Errors
    /// `campaign_cancelled`.
    pub fn pause_campaign(
        &mut self,
        campaign: &Campaign,
        now: Timestamp,
    ) -> Result<Stop, StoreError> {
        match self.stop_of(campaign) {
            Some(stop) if stop.state == StopState::Cancelled => Err(is_cancelled()),
            Some(stop) => Ok(stop.clone()),
            None => Ok(self.stop(campaign, StopState::Paused, now)),
        }
    }

    /// Ends what there is of a campaign, and what comes.
    pub fn cancel_campaign(&mut self, campaign: &Campaign, now: Timestamp) -> Stop {
        match self.stop_of(campaign) {
            Some(stop) if stop.state == StopState::Cancelled => stop.clone(),
            _ => {
                let last = self.last_seq;
                self.ask_campaign(campaign, |campaign| Kind::CancelCampaign(campaign, last));
                self.stop(campaign, StopState::Cancelled, now)
            }
        }
    }

    /// Lifts the stop of a campaign.
    pub fn resume_campaign(&mut self, campaign: &Campaign) -> Option<Stop> {
        let n = (self.stops.iter()).position(|stop| stop.campaign == *campaign)?;
        let stop = self.stops.remove(n);
        self.ask_campaign(campaign, Kind::ResumeCampaign);
        self.registry_written();
        Some(stop)
    }

    fn stop_of(&self, campaign: &Campaign) -> Option<&Stop> {
        self.stops.iter().find(|stop| stop.campaign == *campaign)
    }

    /// One that is paused and then cancelled keeps its number.
    fn stop(&mut self, campaign: &Campaign, state: StopState, now: Timestamp) -> Stop {
        let seq = match self.stop_of(campaign) {
            Some(stop) => stop.seq,
            None => self.seq(),
        };
        let stop = Stop {
            seq,
            campaign: campaign.clone(),
            state,
            since: now,
        };
        self.stops.retain(|other| other.seq != seq);
        self.stops.push(stop.clone());
        self.registry_written();
        stop
    }

    /// Of each lane of its client.
    fn ask_campaign(&mut self, campaign: &Campaign, command: impl Fn(Campaign) -> Kind) {
        let of_client = |target: &tharsis_core::subscription::Target| {
            target.subscription.settings.client == campaign.client
        };
        for (number, target) in &self.targets {
            if of_client(target) {
                let kind = command(campaign.clone());
                self.commands.push(Command::of(*number, kind));
            }
        }
    }

    /// Whether an event is of this campaign.
    pub(super) fn is_of(&self, event: EventId, campaign: &Campaign) -> bool {
        let stored = &self.events[&event];
        stored.pointer.client == campaign.client
            && stored.campaign.as_ref() == Some(&campaign.name)
            && (campaign.recipient.is_none() || stored.recipient == campaign.recipient)
    }

    /// Whether the campaign of an event is paused.
    pub(super) fn is_paused(&self, event: EventId) -> bool {
        let mut stops = self.stops.iter();
        stops.any(|stop| stop.state == StopState::Paused && self.is_of(event, &stop.campaign))
    }

    /// An event is of this campaign from now on.
    pub fn label(&mut self, event: EventId, campaign: &str) {
        if let Some(stored) = self.events.get_mut(&event) {
            stored.campaign = Some(campaign.to_owned());
        }
    }

    /// When an event was published among others, and its payload.
    pub fn content(&self, event: EventId) -> (i64, bytes::Bytes) {
        let stored = &self.events[&event];
        (stored.pointer.seq, stored.payload.clone())
    }

    /// Whether no attempt of an event was to go out at once.
    pub fn is_for_later(&self, event: EventId) -> bool {
        self.events[&event].pointer.not_before.is_some()
    }

    /// Of which campaign an event is, and whom it is for.
    pub fn bears(&self, event: EventId) -> Option<Box<Named>> {
        let stored = self.events.get(&event)?;
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        Named::of(text(&stored.campaign), text(&stored.recipient))
    }

    /// The campaign of an event, told while any is stopped.
    pub(super) fn named(&self, event: EventId) -> Option<Box<Named>> {
        let is_any = !self.stops.is_empty();
        is_any.then(|| self.bears(event)).flatten()
    }
}
