//! Access tokens: who may use the HTTP API.

use std::time::Duration;

use serde_json::json;
use tharsis_core::{
    ClientId, Invalid, Timestamp, TokenId,
    token::{Grant, Role, check_name},
};
use uuid::Uuid;

use crate::{Deed, StoreError, publishing::YEARS};

/// A token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDraft {
    /// What people call it: 1 to 128 characters.
    pub name: String,
    /// What it allows.
    pub grant: Grant,
    /// From then on it lets nobody in; `None`: it does until it is revoked.
    pub expires_at: Option<Timestamp>,
}

/// A token as people see it: all but what would let somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Names it without giving it away.
    pub id: TokenId,
    /// Its first characters after `tharsis_`.
    pub prefix: String,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub grant: Grant,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it lets nobody in; `None`: it does until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, up to a minute earlier: that is written down once a minute at most.
    pub used_at: Option<Timestamp>,
    /// When somebody revoked it.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It does.
    Usable,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl TokenState {
    /// The word for it in JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl TokenDraft {
    /// What may be made at this instant.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Invalid> {
        check_name(&self.name).map_err(|e| e.at("name"))?;
        let Some(expires_at) = self.expires_at else {
            return Ok(());
        };
        if expires_at <= now {
            return Err(Invalid::new("already_expired", "does not lie ahead")
                .at("expires_at")
                .hint("give an instant that lies ahead, or none"));
        }
        if !YEARS.contains(&expires_at.as_millis()) {
            return Err(
                Invalid::new("bad_time", "is not within the years 1970 to 9999")
                    .at("expires_at")
                    .hint("give an instant of these years, or none"),
            );
        }
        Ok(())
    }
}

impl TokenRecord {
    /// Whether it lets somebody in at this instant.
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.expires_at.is_some_and(|at| at <= now) {
            TokenState::Expired
        } else {
            TokenState::Usable
        }
    }

    /// The one that a hash led to, if it lets somebody in at this instant.
    ///
    /// An index compares hashes as it does other keys, and not in constant time: whoever measures that learns at most how a
    /// hash begins. That leads to no token, for nobody can tell which token has a hash, or a part of it, but by trying.
    pub(crate) fn if_usable(self, now: Timestamp) -> Option<Self> {
        (self.state(now) == TokenState::Usable).then_some(self)
    }

    /// One that is made of this.
    pub(crate) fn made(id: TokenId, prefix: &str, draft: &TokenDraft, now: Timestamp) -> Self {
        Self {
            id,
            prefix: prefix.to_owned(),
            name: draft.name.clone(),
            grant: draft.grant,
            created_at: now,
            expires_at: draft.expires_at,
            used_at: None,
            revoked_at: None,
        }
    }

    /// What was done to it, for the audit.
    pub(crate) fn deed(&self, action: &'static str) -> Deed {
        let deed = Deed::new(action, &self.id).with(json!({
            "role": self.grant.role.as_str(),
            "prefix": self.prefix,
            "expires_at": self.expires_at.map(|at| at.to_string()),
        }));
        Deed {
            client: self.grant.client,
            ..deed
        }
    }
}

/// The word in the audit for a token that was made,
pub(crate) const MADE: &str = "token.made";

/// and for one that was revoked.
pub(crate) const REVOKED: &str = "token.revoked";

/// How long a use that was written down stands for others.
pub(crate) const NOTED_EVERY: Duration = Duration::from_secs(60);

/// A token whose hash is there already. Two that were made at random are never the same.
pub(crate) fn is_known() -> Invalid {
    Invalid::new("token_known", "was made before").hint("make another one at random")
}

pub(crate) fn not_found(id: TokenId) -> StoreError {
    StoreError::NotFound {
        what: "token",
        id: id.to_string(),
    }
}

/// What a row says is allowed. A role that this version does not know allows nothing: its row is not read.
pub(crate) fn grant(role: &str, client: Option<Uuid>) -> Result<Grant, sqlx::Error> {
    let role: Role = role
        .parse()
        .map_err(|_| sqlx::Error::Decode(format!("the role {role}").into()))?;
    let client = client.map(ClientId::from_uuid);
    Ok(Grant { role, client })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, expires_at: Option<i64>) -> TokenDraft {
        TokenDraft {
            name: name.to_owned(),
            grant: Grant {
                role: Role::Viewer,
                client: None,
            },
            expires_at: expires_at.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_draft_has_a_name_and_an_end_that_lies_ahead() {
        let now = Timestamp::from_millis(1_000);
        let refused = |draft: &TokenDraft| {
            let refused = draft.check(now).expect_err("refused");
            (refused.code, refused.field.unwrap_or_default())
        };
        for (name, code) in [
            ("", "empty"),
            ("a\tb", "control_character"),
            (&"x".repeat(129), "too_long"),
        ] {
            assert_eq!(refused(&draft(name, None)), (code, "name".to_owned()));
        }
        let at = "expires_at".to_owned();
        for past in [i64::MIN, 0, 1_000] {
            let refused = refused(&draft("a", Some(past)));
            assert_eq!(refused, ("already_expired", at.clone()));
        }
        for far in [YEARS.end() + 1, i64::MAX] {
            assert_eq!(refused(&draft("a", Some(far))), ("bad_time", at.clone()));
        }
        for good in [None, Some(1_001), Some(*YEARS.end())] {
            assert_eq!(draft("a", good).check(now), Ok(()));
        }
    }

    /// A row that a newer version wrote.
    #[test]
    fn a_role_that_is_not_known_lets_nobody_in() {
        assert!(grant("owner", None).is_err());
        assert!(grant("admin", None).is_ok());
    }
}
