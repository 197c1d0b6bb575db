use std::time::Duration;

use super::{Settings, header::OwnHeader};
use crate::{
    Invalid, Timestamp,
    profile::{Fallback, Requirement, Setting},
    secret::{Key, Secret},
    subscription::header::MOST_HEADERS,
    time::format_duration,
};

/// The longest that a secret that was replaced may sign beside the new one.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many of them may.
pub const MOST_RETIRING: usize = 4;

/// What a subscription's requests prove themselves with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// What signs.
    pub secret: Option<Secret>,
    /// Secrets that were replaced but sign beside the new one for a while, the one that retires last first.
    pub retiring: Vec<Retiring>,
    /// Headers of its own.
    pub headers: Vec<OwnHeader>,
}

/// A secret that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retiring {
    /// It signs beside the newest,
    pub secret: Secret,
    /// until then.
    pub until: Timestamp,
}

impl From<Secret> for Credentials {
    fn from(secret: Secret) -> Self {
        Self {
            secret: Some(secret),
            ..Self::default()
        }
    }
}

impl Settings {
    /// Whether these settings can do with this secret, or with none.
    ///
    /// # Errors
    /// `secret_required`, `secret_useless`, and what [`Secret::of`] refuses; field `secret`.
    pub fn accepts(&self, secret: Option<&Secret>) -> Result<(), Invalid> {
        let profile = &self.profile;
        match (profile.secret, secret) {
            (Requirement::Required, None) => Err(Invalid::new(
                "secret_required",
                format!("is required by the profile {}", profile.name),
            )
            .at("secret")
            .hint("give one, or have one generated")),
            (Requirement::Useless, Some(_)) => Err(Invalid::new(
                "secret_useless",
                format!("signs nothing under the profile {}", profile.name),
            )
            .at("secret")
            .hint("leave it out; for receivers that ask for credentials give --basic-user")),
            (_, Some(secret)) => match &profile.signature {
                Some(signature) => match secret.key(signature.key) {
                    Ok(Key::Public(_)) => Err(Secret::wrong_kind().at("secret")),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.at("secret")),
                },
                None => Ok(()),
            },
            (_, None) => Ok(()),
        }
    }

    /// Whether all that its profile asks for is there: a secret of its kind, settings, no header twice.
    ///
    /// # Errors
    /// As [`Self::accepts`] and [`Self::accepts_headers`]; `missing_setting`.
    pub fn fits(&self, credentials: &Credentials) -> Result<(), Invalid> {
        self.accepts(credentials.secret.as_ref())?;
        self.accepts_headers(&credentials.headers)?;
        let is_missing = |setting: &&Setting| {
            setting.fallback == Fallback::Required
                && !self.profile_settings.contains_key(&*setting.name)
        };
        match self.profile.settings.iter().find(is_missing) {
            None => Ok(()),
            Some(setting) => Err(Invalid::new("missing_setting", "is missing")
                .at(&setting.name)
                .at("profile_settings")),
        }
    }

    /// Whether the present secret may go on signing beside its successor `until` then.
    ///
    /// # Errors
    /// Field `overlap`: `one_signature` where the profile's header carries one signature, `overlap_too_long` for more than
    /// [`MAX_OVERLAP`], `too_many_secrets` where [`MOST_RETIRING`] sign beside it already.
    pub fn accepts_overlap(
        &self,
        present: &Credentials,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Invalid> {
        let Some(until) = until else { return Ok(()) };
        if until.since(now) > MAX_OVERLAP {
            return Err(Invalid::new(
                "overlap_too_long",
                format!("is longer than {}", format_duration(MAX_OVERLAP)),
            )
            .at("overlap"));
        }
        let retiring = present.retiring.iter().filter(|old| old.until > now);
        if retiring.count() >= MOST_RETIRING {
            return Err(Invalid::new(
                "too_many_secrets",
                format!("{MOST_RETIRING} former secrets sign beside the present one already"),
            )
            .at("overlap")
            .hint("wait until one of them has retired, or rotate without an overlap"));
        }
        let signature = self.profile.signature.as_ref();
        if signature.is_some_and(|signature| signature.separator.is_some()) {
            return Ok(());
        }
        Err(Invalid::new(
            "one_signature",
            format!(
                "cannot be: the profile {} sends one signature",
                self.profile.name
            ),
        )
        .at("overlap")
        .hint("let the receiver accept both secrets first, then rotate without an overlap"))
    }

    /// Whether these headers can go out beside those of the profile.
    ///
    /// # Errors
    /// `too_many_headers`, `header_twice`, `reserved_header`; field `headers`.
    pub fn accepts_headers(&self, headers: &[OwnHeader]) -> Result<(), Invalid> {
        if headers.len() > MOST_HEADERS {
            return Err(Invalid::new(
                "too_many_headers",
                format!("there are more than {MOST_HEADERS} headers"),
            )
            .at("headers"));
        }
        for (i, header) in headers.iter().enumerate() {
            let name = header.name();
            let at = |e: Invalid| e.at(name).at("headers");
            if headers[..i].iter().any(|earlier| earlier.name() == name) {
                return Err(at(Invalid::new("header_twice", "is there twice")));
            }
            let is_the_profiles = name == "traceparent"
                || (self.profile.signature.iter()).any(|signature| signature.header == name)
                || self.profile.headers.iter().any(|own| own.name == name);
            if is_the_profiles {
                return Err(at(Invalid::new(
                    "reserved_header",
                    format!("is a header of the profile {}", self.profile.name),
                )));
            }
        }
        Ok(())
    }
}
