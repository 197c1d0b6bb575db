//! What people ask for.

use tharsis_core::{
    ReplayId, SubscriptionId,
    subscription::{Held, Settings, header::OwnHeader},
};
use tharsis_store::{Anew, Campaign, Outbox, Registry, ReplayChoice, ReplayDraft, ReplayKey, Stop};

use super::Story;
use crate::{
    answer::{Told, failed, plain, same},
    database::Database,
    harness::{client, seconds, settings, standard, standard_secret},
};

impl<D: Database> Story<'_, D> {
    pub(super) async fn add(&mut self, of: u8, name: u8) -> Told {
        let settings = self.settings(of, name);
        let credentials = standard_secret(of).into();
        let answer = self.any().add(&settings, &credentials, self.now).await;
        let id = answer.as_ref().ok().map(|added| added.id);
        let snapshot = self.any().snapshot().await.map_err(failed)?;
        let mut targets = snapshot.targets.iter();
        let number = targets.find(|(_, target)| Some(target.subscription.id) == id);
        let number = number.map_or(0, |(number, _)| *number);
        let id = id.unwrap_or(SubscriptionId::from_uuid(sqlx::types::Uuid::nil()));
        let named = (id, number);
        let expected = self.model.add(named, &settings, &credentials, self.now);
        if answer.is_ok() {
            self.subscriptions.push(id);
        }
        same("added", &plain(answer), &plain(expected))
    }

    /// The second client's may sign several times.
    fn settings(&self, of: u8, name: u8) -> Settings {
        let settings = if of == 2 { standard } else { settings };
        settings(client(of), ["one", "two", "three"][usize::from(name)])
    }

    pub(super) async fn pause(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().pause(id, self.now).await;
        let expected = self.model.pause(id, self.now);
        same("paused", &plain(answer), &plain(expected))
    }

    pub(super) async fn resume(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().resume(id, Held::All, self.now).await;
        let expected = self.model.resume(id, self.now);
        same("resumed", &plain(answer), &plain(expected))
    }

    pub(super) async fn set(&mut self, of: usize, name: u8, headers: Option<u8>) -> Told {
        let id = self.subscription(of);
        let found = self.model.find(id);
        let is_first = found.is_ok_and(|found| found.settings.client == client(1));
        let settings = self.settings(if is_first { 1 } else { 2 }, name);
        let headers = headers.map(own_headers);
        let anew = Anew {
            headers: headers.as_deref(),
            ..Anew::default()
        };
        let answer = self.any().set(id, &settings, anew, self.now).await;
        let expected = self.model.set(id, &settings, anew, self.now);
        same("set", &plain(answer), &plain(expected))?;
        self.compare_credentials(id).await
    }

    pub(super) async fn rotate(&mut self, of: usize, n: u8, overlap: Option<u16>) -> Told {
        let id = self.subscription(of);
        let secret = Some(standard_secret(n)).filter(|_| n > 0);
        let secret = secret.as_ref();
        let until = overlap.map(|length| self.now + seconds(length.into()));
        let answer = self.any().rotate(id, secret, until, self.now).await;
        let expected = self.model.rotate(id, secret, until, self.now);
        same("rotated", &plain(answer), &plain(expected))?;
        self.compare_credentials(id).await
    }

    async fn compare_credentials(&self, id: SubscriptionId) -> Told {
        let answer = self.any().credentials(id).await;
        let expected = self.model.credentials(id);
        same("what signs", &plain(answer), &plain(expected))
    }

    pub(super) async fn remove(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().remove(id, self.now).await;
        let expected = self.model.remove(id, self.now);
        same("removed", &plain(answer), &plain(expected))
    }

    pub(super) async fn pause_campaign(&mut self, of: u8, n: u8) -> Told {
        let campaign = campaign_of(of, n);
        let answer = self.any().pause_campaign(&campaign, self.now).await;
        let expected = self.model.pause_campaign(&campaign, self.now);
        same(
            "paused",
            &plain(answer.map(told)),
            &plain(expected.map(told)),
        )?;
        self.compare_stops().await
    }

    pub(super) async fn resume_campaign(&mut self, of: u8, n: u8) -> Told {
        let campaign = campaign_of(of, n);
        let answer = self.any().resume_campaign(&campaign, self.now).await;
        let expected = self.model.resume_campaign(&campaign).map(told);
        same(
            "resumed",
            &plain(answer.map(|stop| stop.map(told))),
            &Ok(expected),
        )?;
        self.compare_stops().await
    }

    pub(super) async fn cancel_campaign(&mut self, of: u8, n: u8) -> Told {
        let campaign = campaign_of(of, n);
        let answer = self.any().cancel_campaign(&campaign, self.now).await;
        let expected = self.model.cancel_campaign(&campaign, self.now);
        same("cancelled", &plain(answer.map(told)), &Ok(told(expected)))?;
        self.compare_stops().await
    }

    async fn compare_stops(&self) -> Told {
        let sorted = |stops: Vec<Stop>| {
            let mut stops: Vec<Stop> = stops.into_iter().map(told).collect();
            stops.sort_by(|a, b| a.campaign.cmp(&b.campaign));
            stops
        };
        let found = self.any().snapshot().await.map_err(failed)?.stops;
        same("stops", &sorted(found), &sorted(self.model.stops.clone()))
    }

    pub(super) async fn retry(&mut self, of: usize) -> Told {
        let Some(id) = self.delivery(of) else {
            return Ok(());
        };
        let answer = self.any().retry(id, self.now).await;
        let expected = self.model.retry(id);
        same("asked for", &plain(answer.map(drop)), &plain(expected))
    }

    pub(super) async fn cancel(&mut self, of: usize) -> Told {
        let Some(id) = self.delivery(of) else {
            return Ok(());
        };
        let answer = self.any().cancel(id, self.now).await;
        let expected = self.model.cancel(id);
        same("asked for", &plain(answer.map(drop)), &plain(expected))
    }

    pub(super) async fn replay(&mut self, choice: ReplayChoice, key: ReplayKey) -> Told {
        let mut draft = ReplayDraft::new(choice);
        draft.key = key;
        let answer = self.any().replay(&draft, self.now).await;
        let id = answer.as_ref().ok().map(|replay| replay.id);
        let id = id.unwrap_or(ReplayId::from_uuid(sqlx::types::Uuid::nil()));
        let expected = self.model.replay(id, &draft, self.now);
        if answer.is_ok() {
            self.replays.push(id);
        }
        same("replay", &plain(answer), &plain(expected))
    }
}

fn campaign_of(of: u8, n: u8) -> Campaign {
    Campaign {
        client: client(of),
        name: super::campaign(n),
        recipient: None,
    }
}

/// But for its number, which each numbers as it likes.
fn told(stop: Stop) -> Stop {
    Stop { seq: 0, ..stop }
}

/// The first so many.
fn own_headers(count: u8) -> Vec<OwnHeader> {
    let header = |n| OwnHeader::new(&format!("x-own-{n}"), &format!("{n} of {count}"));
    (0..count).map(|n| header(n).expect("a header")).collect()
}
