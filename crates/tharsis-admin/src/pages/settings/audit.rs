//! The audit: who did what to what.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{Registry, Timestamp, store::AuditRecord, text::excerpt};

use crate::{
    Problem,
    pages::{
        fields::Input,
        form::Form,
        layout::{self, Frame},
        markup::Moment,
        visit::Visit,
    },
};

/// Entries of one page.
const PAGE: u32 = 25;

/// So much of who and what is shown, in characters,
const NAME: usize = 160;

/// and so much of what was before and after.
const DETAIL: usize = 300;

#[derive(Template)]
#[template(path = "audit.html")]
struct List {
    frame: Frame,
    /// To choose a client, for whoever sees all of them.
    inputs: Vec<Input>,
    rows: Vec<Row>,
    next: Option<String>,
    sees_all: bool,
}

struct Row {
    at: Moment,
    actor: String,
    address: Option<String>,
    /// `None`: it concerns the whole installation, or several.
    client: Option<String>,
    action: String,
    subject: String,
    detail: Option<String>,
}

impl Row {
    fn of(entry: &AuditRecord, now: Timestamp) -> Self {
        let name = |text: &str| excerpt(text.as_bytes(), NAME);
        let is_empty = ["", "{}", "null"].contains(&entry.detail.as_str());
        Self {
            at: Moment::of(entry.at, now),
            actor: name(&entry.actor),
            address: entry.address.clone(),
            client: entry.client.map(|client| client.to_string()),
            action: entry.action.clone(),
            subject: name(&entry.subject),
            detail: (!is_empty).then(|| excerpt(entry.detail.as_bytes(), DETAIL)),
        }
    }
}

/// Newest first.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let client = visit.desk.client(asked.word("client")?)?;
    let after = asked.text("after");
    let page = visit.desk.registry().audit(client, after, PAGE).await?;
    let next = page.next.as_deref().map(|next| {
        let onward = asked.clone().with("after", next);
        format!("/settings/audit?{}", onward.query())
    });
    let mut inputs = Vec::new();
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client")
                .hint("its id")
                .after(&asked, None),
        );
    }
    let now = visit.now();
    let list = List {
        inputs,
        rows: page.items.iter().map(|entry| Row::of(entry, now)).collect(),
        next,
        sees_all: visit.sees_all(),
        frame: visit.frame("Audit"),
    };
    layout::answer(StatusCode::OK, &list)
}
