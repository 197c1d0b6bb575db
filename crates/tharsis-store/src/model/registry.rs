//! Subscriptions: each write bumps the revision.

use std::cmp::Reverse;

use tharsis_core::{
    ClientId, Invalid, SubscriptionId, Timestamp,
    health::{Condition, Health, RESUMED},
    secret::Secret,
    subscription::{Credentials, Retiring, Settings, State, Subscription, Target, name_key},
};

use super::{Known, Model, command::Command, count, not_found};
use crate::{
    Anew, Removed, Replaced, StoreError,
    health::{CHANGED, is_probed_first, is_to_be_asked_anew},
};

impl Model {
    /// Adds a subscription under the id and the short number that the database gave it.
    ///
    /// # Errors
    /// `name_taken`.
    pub fn add(
        &mut self,
        (id, number): (SubscriptionId, i64),
        settings: &Settings,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        self.check_name(settings, None)?;
        let (settings, times) = (settings.clone(), (now, now));
        let subscription = Subscription::new(
            id,
            settings,
            (State::Active, Health::default()),
            credentials,
            times,
        );
        let target = Target {
            subscription: subscription.clone(),
            credentials: credentials.clone(),
        };
        self.admit(number, target);
        Ok(subscription)
    }

    /// Adds a subscription as it is.
    pub fn admit(&mut self, number: i64, target: Target) {
        let known = Known {
            id: target.subscription.id,
            name: target.subscription.settings.name.clone(),
            removed_at: None,
        };
        self.known.insert(number, known);
        self.targets.insert(number, target);
        self.registry_written();
    }

    fn check_name(&self, settings: &Settings, but: Option<i64>) -> Result<(), Invalid> {
        let is_taken = self.targets.iter().any(|(number, target)| {
            let other = &target.subscription.settings;
            but != Some(*number)
                && other.client == settings.client
                && name_key(&other.name) == name_key(&settings.name)
        });
        if is_taken {
            return Err(Invalid::new("name_taken", "is another's").at("name"));
        }
        Ok(())
    }

    pub(super) fn registry_written(&mut self) {
        self.revision += 1;
        self.commits += 1;
    }

    /// One subscription.
    ///
    /// # Errors
    /// `NotFound` for one that was removed, or never was.
    pub fn find(&self, id: SubscriptionId) -> Result<Subscription, StoreError> {
        let number = self.present(id)?;
        Ok(self.targets[&number].subscription.clone())
    }

    /// All subscriptions of one client or of all, oldest first.
    pub fn list(&self, client: Option<ClientId>) -> Vec<Subscription> {
        let all = self.targets.values().map(|target| &target.subscription);
        all.filter(|one| client.is_none_or(|client| one.settings.client == client))
            .cloned()
            .collect()
    }

    /// What its requests prove themselves with.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn credentials(&self, id: SubscriptionId) -> Result<Credentials, StoreError> {
        let number = self.present(id)?;
        Ok(self.targets[&number].credentials.clone())
    }

    fn present(&self, id: SubscriptionId) -> Result<i64, StoreError> {
        self.number(id)
            .filter(|number| self.targets.contains_key(number))
            .ok_or_else(|| not_found("subscription", &id))
    }

    /// Replaces the settings of a subscription, and its own headers where some are given.
    ///
    /// # Errors
    /// `NotFound`, `not_changeable`, `changed_meanwhile`, `name_taken`.
    pub fn set(
        &mut self,
        id: SubscriptionId,
        settings: &Settings,
        anew: Anew<'_>,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let number = self.present(id)?;
        let present = &self.targets[&number].subscription.settings;
        if present.client != settings.client || present.profile != settings.profile {
            return Err(Invalid::new("not_changeable", "cannot be changed").into());
        }
        let Replaced { secret, headers } = anew.on(&self.targets[&number], settings)?;
        self.check_name(settings, Some(number))?;
        let known = self.known.get_mut(&number).expect("it is present");
        known.name.clone_from(&settings.name);
        self.ask_anew(number, now);
        self.write(number, now, |target| {
            target.subscription.settings = settings.clone();
            if let Some(secret) = secret {
                target.credentials.secret = secret.cloned();
                target.credentials.retiring.clear();
            }
            if let Some(headers) = headers {
                target.credentials.headers = headers.to_vec();
            }
        })
    }

    /// Holds its deliveries.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn pause(
        &mut self,
        id: SubscriptionId,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let number = self.present(id)?;
        self.write(number, now, |target| {
            target.subscription.state = State::Paused;
        })
    }

    /// Lets them go again.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn resume(
        &mut self,
        id: SubscriptionId,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let number = self.present(id)?;
        if is_probed_first(&self.targets[&number].subscription) {
            self.half_open(number, RESUMED, now);
        }
        self.write(number, now, |target| {
            target.subscription.state = State::Active;
        })
    }

    /// Replaces its secret; the one that was there goes on signing beside it `until` then.
    ///
    /// # Errors
    /// `NotFound`, `secret_reused`, `one_signature`, and what [`Settings::accepts`] refuses.
    pub fn rotate(
        &mut self,
        id: SubscriptionId,
        secret: Option<&Secret>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        let number = self.present(id)?;
        let target = &self.targets[&number];
        let settings = &target.subscription.settings;
        settings.accepts(secret)?;
        settings.accepts_overlap(&target.credentials, until, now)?;
        if secret.is_some() && secret == target.credentials.secret.as_ref() {
            return Err(Invalid::new("secret_reused", "is the present one").into());
        }
        self.ask_anew(number, now);
        self.write(number, now, |target| {
            let credentials = &mut target.credentials;
            let former = std::mem::replace(&mut credentials.secret, secret.cloned());
            credentials
                .retiring
                .retain(|old| until.is_some() && old.until > now);
            if let (Some(secret), Some(until)) = (former, until.filter(|until| *until > now)) {
                credentials.retiring.push(Retiring { secret, until });
                credentials.retiring.sort_by_key(|old| Reverse(old.until));
            }
        })
    }

    fn write(
        &mut self,
        number: i64,
        now: Timestamp,
        change: impl FnOnce(&mut Target),
    ) -> Result<Subscription, StoreError> {
        let target = self.targets.get_mut(&number).expect("it is present");
        change(target);
        let present = &target.subscription;
        let mut subscription = Subscription::new(
            present.id,
            present.settings.clone(),
            (present.state.clone(), present.health.clone()),
            &target.credentials,
            (present.created_at, now),
        );
        subscription.version = present.version + 1;
        if subscription.secret_fingerprint == present.secret_fingerprint {
            subscription.secret_set_at = present.secret_set_at;
        }
        target.subscription = subscription.clone();
        self.registry_written();
        Ok(subscription)
    }

    /// Removes it, and asks for the end of what it leaves behind.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&mut self, id: SubscriptionId, now: Timestamp) -> Result<Removed, StoreError> {
        let number = self.present(id)?;
        self.targets.remove(&number);
        let known = self.known.get_mut(&number).expect("it was present");
        known.removed_at = Some(now);
        self.commands.push(Command::remains(number));
        self.registry_written();
        let left = self.rows.iter();
        let left = left.filter(|row| row.position.subscription == number);
        Ok(Removed {
            unfinished: count(left.count()),
        })
    }

    /// How or where it is sent to is another from now on.
    fn ask_anew(&mut self, number: i64, now: Timestamp) {
        if is_to_be_asked_anew(&self.targets[&number].subscription) {
            self.half_open(number, CHANGED, now);
        }
    }

    /// Whether the deliveries of a subscription are held.
    pub(super) fn is_held(&self, number: i64) -> bool {
        self.targets.get(&number).is_some_and(|target| {
            let of = &target.subscription;
            of.state != State::Active || of.health.condition == Condition::Open
        })
    }
}
