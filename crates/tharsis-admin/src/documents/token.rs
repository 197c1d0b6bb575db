//! Who may use the API.

use std::fmt;

use serde::Serialize;
use tharsis::{Timestamp, store::TokenRecord, token::Token};
use utoipa::ToSchema;

use super::words;

/// A token: all but what would let somebody in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    prefix: &'a str,
    name: &'a str,
    #[schema(value_type = words::TokenRole)]
    role: &'static str,
    /// `null` for all of them.
    #[schema(format = "uuid")]
    client: Option<String>,
    /// `usable`, `expired` or `revoked`.
    #[schema(value_type = words::TokenState)]
    state: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    /// `null`: it does not.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Up to a minute earlier than its last use; `null`: never.
    #[schema(format = DateTime)]
    used_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl<'a> TokenDocument<'a> {
    /// As it is at this instant.
    pub fn of(token: &'a TokenRecord, now: Timestamp) -> Self {
        Self {
            id: token.id.to_string(),
            prefix: &token.prefix,
            name: &token.name,
            role: token.grant.role.as_str(),
            client: token.grant.client.map(|client| client.to_string()),
            state: token.state(now).as_str(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|at| at.to_string()),
            used_at: token.used_at.map(|at| at.to_string()),
            revoked_at: token.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// A token that was made, the one time that it is shown. So it cannot be printed but as JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeToken)]
pub struct MadeTokenDocument<'a> {
    #[serde(flatten)]
    record: TokenDocument<'a>,
    token: &'a str,
}

impl<'a> MadeTokenDocument<'a> {
    /// With the token itself.
    pub fn of(record: &'a TokenRecord, token: &'a Token, now: Timestamp) -> Self {
        Self {
            record: TokenDocument::of(record, now),
            token: token.expose(),
        }
    }
}

impl fmt::Debug for MadeTokenDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.record, f)
    }
}
