//! Alerts: what people and subscriptions were told.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{Registry, Timestamp, store::AlertRecord};

use crate::{
    Problem,
    documents::AlertDocument,
    pages::{
        fields::Input,
        form::Form,
        layout::{self, Frame},
        markup::Moment,
        visit::Visit,
    },
    text::count,
};

/// So many are shown.
const SHOWN: usize = 30;

#[derive(Template)]
#[template(path = "alerts.html")]
struct List {
    frame: Frame,
    /// To choose a client, for whoever sees all of them.
    inputs: Vec<Input>,
    rows: Vec<Row>,
    /// Those that are not shown.
    left_out: usize,
}

struct Row {
    raised: Moment,
    cause: &'static str,
    subscription: String,
    subscription_href: String,
    since: Moment,
    /// Deliveries that it is about.
    count: String,
    /// The code of the last outcome.
    reason: Option<String>,
    status: String,
    /// When it is told, where it is not yet.
    due: Option<Moment>,
}

impl Row {
    fn of(record: &AlertRecord, now: Timestamp) -> Self {
        let alert = &record.alert;
        let is_untold = record.outcome.is_none();
        Self {
            raised: Moment::of(alert.raised_at, now),
            cause: alert.cause.as_str(),
            subscription: record.subscription_name.clone(),
            subscription_href: format!("/subscriptions/{}", record.subscription),
            since: Moment::of(alert.since, now),
            count: count(alert.count),
            reason: alert.code.clone(),
            status: AlertDocument::from(record).status.to_owned(),
            due: is_untold.then(|| Moment::of(alert.due_at, now)),
        }
    }
}

/// What is not told yet first, then the newest.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let client = visit.desk.client(asked.word("client")?)?;
    let alerts = visit.desk.registry().alerts(client).await?;
    let mut inputs = Vec::new();
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client")
                .hint("its id")
                .after(&asked, None),
        );
    }
    let rows = alerts.iter().take(SHOWN);
    let list = List {
        inputs,
        rows: rows.map(|alert| Row::of(alert, visit.now())).collect(),
        left_out: alerts.len().saturating_sub(SHOWN),
        frame: visit.frame("Alerts"),
    };
    layout::answer(StatusCode::OK, &list)
}
