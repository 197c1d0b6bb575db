//! Settings: who may come in, what was done and told, who delivers, and what secrets are sealed with.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod keys;
pub(crate) mod tokens;
pub(crate) mod workers;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::token::Permission;

use super::{
    fields::joined,
    layout::{self, Frame},
    visit::Visit,
};
use crate::Problem;

/// A page of settings, and whom it is for.
struct Entry {
    href: &'static str,
    name: &'static str,
    sentence: &'static str,
    permission: Permission,
    /// It is of no client alone.
    is_of_all: bool,
}

const ENTRIES: [Entry; 5] = [
    Entry {
        href: "/settings/tokens",
        name: "Access tokens",
        sentence: "who may use the API and these pages; make one, or revoke one",
        permission: Permission::Administer,
        is_of_all: false,
    },
    Entry {
        href: "/settings/audit",
        name: "Audit",
        sentence: "who did what to what, and from where",
        permission: Permission::Administer,
        is_of_all: false,
    },
    Entry {
        href: "/settings/alerts",
        name: "Alerts",
        sentence: "what people and subscriptions were told, or are to be told",
        permission: Permission::Read,
        is_of_all: false,
    },
    Entry {
        href: "/settings/workers",
        name: "Workers",
        sentence: "who delivers, with how many shards, and what is not finished",
        permission: Permission::Read,
        is_of_all: true,
    },
    Entry {
        href: "/settings/keys",
        name: "Keys",
        sentence: "which keys secrets are sealed with, and how much with each",
        permission: Permission::Administer,
        is_of_all: true,
    },
];

impl Entry {
    fn is_for(&self, visit: &Visit) -> bool {
        visit.may(self.permission) && (visit.sees_all() || !self.is_of_all)
    }
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    entries: Vec<Entry>,
    /// For whom receivers are to open.
    seen_from: Option<String>,
}

/// Where to go from here, for this visitor.
pub(crate) async fn show(visit: Visit) -> Result<Response, Problem> {
    let entries = ENTRIES.into_iter().filter(|entry| entry.is_for(&visit));
    let page = Page {
        entries: entries.collect(),
        seen_from: joined(&visit.desk.options().seen_from),
        frame: visit.frame("Settings"),
    };
    layout::answer(StatusCode::OK, &page)
}

/// What is of no client alone is, for whoever sees but one, as if it were not there.
fn for_all_clients(visit: &Visit) -> Result<(), Problem> {
    match visit.sees_all() {
        true => Ok(()),
        false => Err(Problem::not_found("page")),
    }
}
