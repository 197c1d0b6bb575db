//! What a caller may see of the house: whatever is another client's is not there.

use axum::{extract::FromRequestParts, http::request::Parts};
use tharsis::{
    ClientId, DeliveryId, Emitter, EventId, Invalid, Registry, ReplayId, SubscriptionId, TokenId,
    random,
    store::{By, DeliveryDetail, EventRecord, Replay, TokenDraft, TokenRecord, Whereabouts},
    subscription::Subscription,
    token::{Grant, Role, Token},
};

use crate::{Lifetime, Problem, caller::Caller, observe::Observer, serve::House};

/// Where a caller is served. All that is asked for by its id is asked for here, so that no route forgets whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    house: House,
    pub(crate) caller: Caller,
}

impl FromRequestParts<House> for Desk {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Problem> {
        // Whoever has come past the door is somebody.
        let caller = parts.extensions.get::<Caller>().cloned();
        Ok(Self {
            house: house.clone(),
            caller: caller.ok_or_else(|| Problem::not_found("path"))?,
        })
    }
}

impl Desk {
    /// Of whoever has come past the guard of the pages.
    pub(crate) fn new(house: House, caller: Caller) -> Self {
        Self { house, caller }
    }

    pub(crate) fn emitter(&self) -> &Emitter {
        &self.house.emitter
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.house.observer
    }

    pub(crate) fn options(&self) -> &crate::Options {
        &self.house.options
    }

    pub(crate) fn registry(&self) -> &impl Registry {
        self.house.emitter.registry()
    }

    /// Whom the audit is to name.
    pub(crate) fn by(&self) -> By<'_> {
        self.caller.by()
    }

    /// The client that a list is of: that of the token, where it has one, whatever is asked for.
    pub(crate) fn client(&self, asked: Option<ClientId>) -> Result<Option<ClientId>, Problem> {
        self.caller.client(asked)
    }

    pub(crate) async fn subscription(&self, id: &str) -> Result<Subscription, Problem> {
        let id: SubscriptionId = known("subscription", id)?;
        let found = self.registry().find(id).await?;
        self.own("subscription", found.settings.client, found)
    }

    pub(crate) async fn event(&self, id: &str) -> Result<EventRecord, Problem> {
        let id: EventId = known("event", id)?;
        let found = self.registry().event(id).await?;
        self.own("event", found.client, found)
    }

    pub(crate) async fn whereabouts(&self, id: &str) -> Result<Whereabouts, Problem> {
        let id: EventId = known("event", id)?;
        let found = self.registry().whereabouts(id).await?;
        self.own("event", found.event.client, found)
    }

    pub(crate) async fn delivery(
        &self,
        event: &str,
        subscription: &str,
    ) -> Result<DeliveryDetail, Problem> {
        let id: DeliveryId = known("delivery", &format!("{event}/{subscription}"))?;
        let found = self.registry().delivery(id).await?;
        self.own("delivery", found.row.client, found)
    }

    /// One that is of no client alone is for those alone who see all clients.
    pub(crate) async fn replay(&self, id: &str) -> Result<Replay, Problem> {
        let id: ReplayId = known("replay", id)?;
        let found = self.registry().replay_state(id).await?;
        match (self.client(None)?, found.client) {
            (None, _) => Ok(found),
            (Some(own), Some(client)) if own == client => Ok(found),
            _ => Err(Problem::not_found("replay")),
        }
    }

    /// Makes a token of this role, for this client where one is named, else for that of the caller's own.
    pub(crate) async fn make_token(
        &self,
        name: String,
        role: &str,
        client: Option<ClientId>,
        lifetime: Option<Lifetime>,
    ) -> Result<(TokenRecord, Token), Problem> {
        let role: Role = role.parse().map_err(|e: Invalid| e.at("role"))?;
        let draft = TokenDraft {
            name,
            grant: Grant {
                role,
                client: self.client(client)?,
            },
            expires_at: lifetime.unwrap_or_default().end(self.caller.at),
        };
        let token = Token::generate(random()?);
        let record = (self.registry())
            .add_token(&token, &draft, self.by())
            .await?;
        Ok((record, token))
    }

    /// Has a token let nobody in any more, from now on.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<TokenRecord, Problem> {
        let id: TokenId = known("token", id)?;
        let revoked = (self.registry())
            .revoke_token(self.client(None)?, id, self.by())
            .await?;
        self.house.known.forget();
        Ok(revoked)
    }

    fn own<T>(&self, what: &str, client: ClientId, found: T) -> Result<T, Problem> {
        match self.caller.covers(client) {
            true => Ok(found),
            false => Err(Problem::not_found(what)),
        }
    }
}

/// What is no id is nobody's.
pub(crate) fn known<T: std::str::FromStr>(what: &str, id: &str) -> Result<T, Problem> {
    id.parse().map_err(|_| Problem::not_found(what))
}
