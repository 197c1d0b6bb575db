//! Who asks, and what of it they may have.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode, header};
use tharsis::{
    ClientId, Registry, Timestamp, TokenId,
    store::{By, TokenRecord},
    token::{Permission, Token},
};
use tokio::time::timeout;
use tracing::warn;

use crate::{Problem, known::Known};

/// So long it is tried to note it.
const NOTING: Duration = Duration::from_secs(1);

/// That a token is used is written down so often.
const NOTED: Duration = Duration::from_secs(60);

/// Whoever holds the token that a request bears.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    token: Arc<TokenRecord>,
    /// As the audit names it, where it is asked.
    actor: OnceLock<String>,
    address: IpAddr,
    /// When the request came.
    pub(crate) at: Timestamp,
}

impl Caller {
    /// Of a request from there.
    pub(crate) async fn of(
        headers: &HeaderMap,
        from: SocketAddr,
        registry: &impl Registry,
        known: &Known,
        at: Timestamp,
    ) -> Result<Self, Problem> {
        let token = Token::parse(bearer(headers)?).map_err(|_| Problem::token_unknown())?;
        let hash = token.hash();
        if let Some(token) = known.get(&hash, at) {
            return Ok(Self::new(token, from, at));
        }
        let caller = Self::holding(&hash, from, registry, at).await?;
        known.put(hash, &caller.token, at);
        Ok(caller)
    }

    /// Whoever holds the token of this hash, as it is in the database now.
    pub(crate) async fn holding(
        hash: &[u8; 32],
        from: SocketAddr,
        registry: &impl Registry,
        at: Timestamp,
    ) -> Result<Self, Problem> {
        let token = looked_up(registry, hash, at).await?;
        Ok(Self::new(Arc::new(token), from, at))
    }

    fn new(token: Arc<TokenRecord>, from: SocketAddr, at: Timestamp) -> Self {
        Self {
            token,
            actor: OnceLock::new(),
            address: from.ip(),
            at,
        }
    }

    /// Whether they may.
    pub(crate) fn check(&self, permission: Permission) -> Result<(), Problem> {
        let role = self.token.grant.role;
        if role.may(permission) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not_allowed",
            format!("is not for a token of the role {}", role.as_str()),
        )
        .hint("ask an admin for a token of another role"))
    }

    /// The token that they hold.
    pub(crate) fn token(&self) -> TokenId {
        self.token.id
    }

    /// All that may be said of it.
    pub(crate) fn record(&self) -> &TokenRecord {
        &self.token
    }

    /// Whom the audit is to name.
    pub(crate) fn by(&self) -> By<'_> {
        let TokenRecord { prefix, name, .. } = &*self.token;
        let actor = (self.actor).get_or_init(|| format!("token {prefix} {name}"));
        By::new(actor, self.at).from_address(self.address)
    }

    /// Whether what is this client's is theirs to see.
    pub(crate) fn covers(&self, client: ClientId) -> bool {
        self.token.grant.covers(client)
    }

    /// The client that a list is of: that of the token, where it has one, whatever is asked for.
    pub(crate) fn client(&self, asked: Option<ClientId>) -> Result<Option<ClientId>, Problem> {
        match (self.token.grant.client, asked) {
            (Some(own), Some(asked)) if own != asked => Err(Problem::not_found("client")),
            (own, asked) => Ok(own.or(asked)),
        }
    }
}

async fn looked_up(
    registry: &impl Registry,
    hash: &[u8; 32],
    at: Timestamp,
) -> Result<TokenRecord, Problem> {
    let found = registry.token(hash, at).await?;
    let record = found.ok_or_else(Problem::token_unknown)?;
    if record.used_at.is_none_or(|used| used + NOTED <= at) {
        // Who asks is not to wait for that, nor to be refused where nothing can be written.
        let noted = timeout(NOTING, registry.used_token(record.id, at)).await;
        if !matches!(noted, Ok(Ok(()))) {
            warn!(token.id = %record.id, "that a token was used could not be noted");
        }
    }
    Ok(record)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "token_missing",
            "the request bears no token",
        )
        .hint("send the header Authorization: Bearer TOKEN; tharsis token create makes one")
    };
    let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = (value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    Ok(token.trim())
}
