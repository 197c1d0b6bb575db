use tharsis::{
    CheckMethod, DeliveryId, Emitter, Error, EventId, Invalid, Registry, dispatch,
    egress::Policy,
    random,
    store::{Anew, By},
    subscription::{Credentials, Settings, Subscription, header::OwnHeader},
};

use super::{Chosen, knows_secret, note_refusal, note_weakness};

/// What the URL of a change is judged by. The present one was judged when it was registered, and is judged anew at each
/// connection.
pub fn policy(configured: &Policy, present: &Settings, is_new: bool) -> Policy {
    let mut policy = configured.clone();
    if !is_new {
        policy.allow_hosts.push(present.url.host().to_owned());
        policy.allow_ports.push(present.url.port());
    }
    policy
}

/// Why a secret is of no use to a change: it is for another host.
pub fn same_host() -> Invalid {
    Invalid::new(
        "same_host",
        "its URL stays on its host, and so does its secret",
    )
    .at("secret")
}

/// A change of a subscription that was judged, and is not made yet.
#[derive(Debug)]
pub struct Changing<'a> {
    present: &'a Subscription,
    settings: Settings,
    method: CheckMethod,
    /// The URL is to prove that it is there, be it new or not.
    is_asked_for: bool,
    /// In place of all that it has.
    headers: Option<Vec<OwnHeader>>,
    /// For another host.
    chosen: Option<Chosen>,
}

impl<'a> Changing<'a> {
    /// To these settings, and to these headers where any are given. The URL proves that it is there where it is new, or where
    /// a method is asked for.
    ///
    /// # Errors
    /// What [`CheckMethod::of`] and [`Settings::accepts_headers`] refuse.
    pub fn new(
        present: &'a Subscription,
        settings: Settings,
        headers: Option<Vec<OwnHeader>>,
        asked: Option<CheckMethod>,
    ) -> Result<Self, Invalid> {
        let method = CheckMethod::of(&settings.profile, asked)?;
        if let Some(headers) = &headers {
            settings.accepts_headers(headers)?;
        }
        Ok(Self {
            present,
            settings,
            method,
            is_asked_for: asked.is_some(),
            headers,
            chosen: None,
        })
    }

    /// What it is to be.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How its URL would prove that it is there.
    pub fn method(&self) -> CheckMethod {
        self.method
    }

    /// The secret that it was given for another host.
    pub fn chosen(&self) -> Option<&Chosen> {
        self.chosen.as_ref()
    }

    /// Whether its URL leads to another host. What the former one was told is not sent there: it wants a secret of its own.
    pub fn moves(&self) -> bool {
        self.settings.url.host() != self.present.settings.url.host()
    }

    /// Whether its URL is to prove that it is there.
    pub fn checks(&self) -> bool {
        let is_new = self.present.settings.url != self.settings.url;
        self.may_be() && (self.is_asked_for || is_new)
    }

    /// For what the registry refuses to change nobody is asked, and nothing is noted.
    fn may_be(&self) -> bool {
        let (present, wanted) = (&self.present.settings, &self.settings);
        present.client == wanted.client && present.profile == wanted.profile
    }

    /// With this secret for the other host.
    ///
    /// # Errors
    /// `secret_unknown` where the host would be asked by what is signed with a secret that it cannot know;
    /// what [`Settings::accepts`] refuses.
    pub fn with_secret(self, chosen: Chosen) -> Result<Self, Invalid> {
        knows_secret(self.method, chosen.generated)?;
        self.settings.accepts(chosen.secret.as_ref())?;
        Ok(Self {
            chosen: Some(chosen),
            ..self
        })
    }

    /// Has the URL prove that it is there where that is due, and changes the subscription, which nobody may have changed
    /// meanwhile: what was not said of it is what was read.
    ///
    /// # Errors
    /// When the check fails, nothing is changed; as [`Registry::set`].
    pub async fn make(&self, emitter: &Emitter, by: By<'_>) -> Result<Subscription, Error> {
        let (registry, id) = (emitter.registry(), self.present.id);
        if self.checks()
            && let Err(error) = self.check(emitter, by).await
        {
            note_refusal(registry, &self.settings, &error, by).await;
            return Err(error);
        }
        if let Some(chosen) = &self.chosen
            && self.may_be()
        {
            let client = self.settings.client;
            note_weakness(registry, chosen, &id.to_string(), client, by).await?;
        }
        let anew = Anew {
            secret: (self.chosen.as_ref()).map(|chosen| chosen.secret.as_ref()),
            headers: self.headers.as_deref(),
            version: Some(self.present.version),
        };
        Ok(registry.set(id, &self.settings, anew, by).await?)
    }

    async fn check(&self, emitter: &Emitter, by: By<'_>) -> Result<(), Error> {
        let id = self.present.id;
        let mut credentials = match self.moves() {
            // What is another host's is not sent to this one.
            true => Credentials {
                secret: (self.chosen.as_ref()).and_then(|chosen| chosen.secret.clone()),
                ..Credentials::default()
            },
            false => emitter.registry().credentials(id).await?,
        };
        if let Some(headers) = &self.headers {
            credentials.headers.clone_from(headers);
        }
        let test = DeliveryId {
            event: EventId::new(by.at, random()?),
            subscription: id,
        };
        let client = emitter.client()?;
        dispatch::check(
            client,
            &self.settings,
            &credentials,
            self.method,
            test,
            by.at,
        )
        .await?;
        Ok(())
    }
}
