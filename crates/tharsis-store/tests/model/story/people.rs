//! What people ask for.

use tharsis_core::{ReplayId, SubscriptionId, subscription::Settings};
use tharsis_store::{Outbox, Registry, ReplayChoice};

use super::Story;
use crate::{
    answer::{Told, failed, plain, same},
    database::Database,
    harness::{client, secret, settings},
};

impl<D: Database> Story<'_, D> {
    pub(super) async fn add(&mut self, of: u8, name: u8) -> Told {
        let settings = self.settings(of, name);
        let secret = secret(of);
        let answer = self.any().add(&settings, Some(&secret), self.now).await;
        let id = answer.as_ref().ok().map(|added| added.id);
        let snapshot = self.any().snapshot().await.map_err(failed)?;
        let mut targets = snapshot.targets.iter();
        let number = targets.find(|(_, target)| Some(target.subscription.id) == id);
        let number = number.map_or(0, |(number, _)| *number);
        let id = id.unwrap_or(SubscriptionId::from_uuid(sqlx::types::Uuid::nil()));
        let named = (id, number);
        let expected = self.model.add(named, &settings, Some(&secret), self.now);
        if answer.is_ok() {
            self.subscriptions.push(id);
        }
        same("added", &plain(answer), &plain(expected))
    }

    fn settings(&self, of: u8, name: u8) -> Settings {
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
        let answer = self.any().resume(id, self.now).await;
        let expected = self.model.resume(id, self.now);
        same("resumed", &plain(answer), &plain(expected))
    }

    pub(super) async fn rename(&mut self, of: usize, name: u8) -> Told {
        let id = self.subscription(of);
        let client = self.model.find(id).map_or(client(1), |s| s.settings.client);
        let settings = Settings {
            client,
            ..self.settings(1, name)
        };
        let answer = self.any().set(id, &settings, self.now).await;
        let expected = self.model.set(id, &settings, self.now);
        same("set", &plain(answer), &plain(expected))
    }

    pub(super) async fn rotate(&mut self, of: usize, n: u8) -> Told {
        let id = self.subscription(of);
        let secret = Some(secret(n)).filter(|_| n > 0);
        let answer = self.any().rotate(id, secret.as_ref(), self.now).await;
        let expected = self.model.rotate(id, secret.as_ref(), self.now);
        same("rotated", &plain(answer), &plain(expected))?;
        let answer = self.any().secret(id).await;
        let answer = answer.map(|secret| secret == self.model.secret(id).ok().flatten());
        same(
            "secret",
            &plain(answer),
            &plain(self.model.secret(id).map(|_| true)),
        )
    }

    pub(super) async fn remove(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().remove(id, self.now).await;
        let expected = self.model.remove(id, self.now);
        same("removed", &plain(answer), &plain(expected))
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

    pub(super) async fn replay(&mut self, choice: ReplayChoice) -> Told {
        let answer = self.any().replay(&choice, self.now).await;
        let id = answer.as_ref().ok().map(|replay| replay.id);
        let id = id.unwrap_or(ReplayId::from_uuid(sqlx::types::Uuid::nil()));
        let expected = self.model.replay(id, &choice, self.now);
        if answer.is_ok() {
            self.replays.push(id);
        }
        same("replay", &plain(answer), &plain(expected))
    }
}
