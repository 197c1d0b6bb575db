//! Somebody who is signed in, and asks for a page.

use std::time::Duration;

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;
use tharsis::{Timestamp, token::Permission};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    PATIENCE,
    guard::Asker,
    layout::{Frame, Who},
    session::Session,
    shared::Shared,
};
use crate::{
    Problem,
    caller::Caller,
    desk::Desk,
    serve::{House, overloaded},
};

/// What a page is made with.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(super) house: House,
    pub(crate) desk: Desk,
    session: Session,
    /// The path of the page, as the table has it.
    path: &'static str,
    asker: Asker,
}

impl FromRequestParts<House> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &House) -> Result<Self, Problem> {
        // Whoever has come past the guard is signed in.
        let visit = parts.extensions.get::<Self>().cloned();
        visit.ok_or_else(|| Problem::not_found("path"))
    }
}

impl Visit {
    pub(crate) fn new(
        house: House,
        caller: Caller,
        session: Session,
        path: &'static str,
        asker: Asker,
    ) -> Self {
        Self {
            desk: Desk::new(house.clone(), caller),
            house,
            session,
            path,
            asker,
        }
    }

    /// When it was asked for.
    pub(crate) fn now(&self) -> Timestamp {
        self.desk.caller.at
    }

    /// Whether what needs this is shown to them.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.desk.caller.record().grant.role.may(permission)
    }

    /// Whether they see all clients.
    pub(crate) fn sees_all(&self) -> bool {
        self.desk.caller.record().grant.client.is_none()
    }

    /// What is costly to count, which they share with whoever else looks at it.
    pub(crate) fn shared(&self) -> &Shared {
        &self.house.shared
    }

    /// How long a page waits for what is counted. What stays up to date waits until it is.
    pub(crate) fn patience(&self) -> Duration {
        match self.asker {
            Asker::Person => PATIENCE,
            Asker::Page | Asker::PageAgain => self.house.options.deadline,
        }
    }

    /// The place for what goes through much, when its turn comes.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.house.heavy.place(self.asker.wait()).await;
        place.ok_or_else(overloaded)
    }

    /// Whether a form that bears this was made for this session.
    pub(crate) fn made(&self, csrf: &str) -> bool {
        self.session.csrf.is(csrf)
    }

    /// Has the next page say what was done.
    pub(crate) fn tell(&self, notice: impl Into<String>) {
        self.house.sessions.tell(self.session.key, notice.into());
    }

    /// Ends it.
    pub(crate) fn sign_out(&self) {
        self.house.sessions.end(self.session.key);
    }

    /// What stands around a page of this title. It says what was to be told, so it is asked for when the page is made;
    /// to a part of it that is live alone nothing is told.
    pub(crate) fn frame(&self, title: impl Into<String>) -> Frame {
        let notice = match self.asker {
            Asker::Person => self.house.sessions.told(self.session.key),
            Asker::Page | Asker::PageAgain => None,
        };
        self.passing_frame(title).with_notice(notice)
    }

    /// What stands around a page that makes way for another one at once: that one says what was to be told.
    pub(crate) fn passing_frame(&self, title: impl Into<String>) -> Frame {
        let token = self.desk.caller.record();
        let client = token.grant.client;
        let who = Who {
            name: token.name.clone(),
            role: token.grant.role.as_str(),
            client: client.map_or_else(|| "all clients".to_owned(), |client| client.to_string()),
        };
        Frame::around(title.into(), self.path, who).with_csrf(self.session.csrf.expose())
    }
}

/// The parts of the path that stand in braces in the table of pages.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is no text names nothing.
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(path) = path.map_err(|_| Problem::not_found("path"))?;
        Ok(Self(path))
    }
}
