//! Subscriptions: who wants which events, where, and how their receivers do.

mod edit;
mod filter;
mod lately;
mod new;
mod remove;
mod rotate;
mod settings;
mod steer;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    ClientId, Registry, SubscriptionId, Timestamp,
    health::Condition,
    store::{DeliveryFilter, DeliveryRow, StoreError, TransitionRecord},
    subscription::{State, Subscription},
    token::Permission,
};

use super::{
    deliveries::{self, abridged},
    fields::{Fact, Input},
    form::Form,
    layout::{self, Frame},
    markup::{Badge, Moment},
    visit::{Path, Visit},
};
use crate::Problem;
use lately::Lately;

pub(crate) use edit::{edit, editing};
pub(crate) use filter::filter;
pub(crate) use new::{create, form};
pub(crate) use remove::{removal, remove};
pub(crate) use rotate::{rotate, rotation};
pub(crate) use steer::{pause, resume, test};

/// Subscriptions of one page.
const PAGE: usize = 25;

/// Of so many deliveries, the newest, it is looked up when they were attempted last; and so many are shown.
const LATEST: u32 = 20;

/// So many transitions are shown, the newest.
const TRANSITIONS: usize = 20;

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct List {
    frame: Frame,
    /// To choose a client, for whoever sees all of them.
    inputs: Vec<Input>,
    rows: Vec<Row>,
    /// Where those before and those after are.
    former: Option<String>,
    next: Option<String>,
    may_add: bool,
    sees_all: bool,
}

/// A subscription as the list tells it.
struct Row {
    href: String,
    name: String,
    /// Abridged.
    client: String,
    host: String,
    state: Badge,
    condition: Badge,
    /// What brought it there.
    cause: Option<String>,
}

/// Oldest first, some at a time.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let registry = visit.desk.registry();
    let client: Option<ClientId> = visit.desk.client(asked.word("client")?)?;
    let all = registry.list(client).await?;
    let last = all.len().div_ceil(PAGE).max(1);
    let number = asked
        .text("page")
        .and_then(|text| text.parse::<usize>().ok());
    let number = number.unwrap_or(1).clamp(1, last);
    let shown = all.iter().skip((number - 1) * PAGE).take(PAGE);
    let page = |number: usize| {
        let query = asked.clone().with("page", &number.to_string()).query();
        format!("/subscriptions?{query}")
    };
    let mut inputs = Vec::new();
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client")
                .hint("its id")
                .after(&asked, None),
        );
    }
    let list = List {
        inputs,
        rows: shown.map(Row::of).collect(),
        former: (number > 1).then(|| page(number - 1)),
        next: (number < last).then(|| page(number + 1)),
        may_add: visit.may(Permission::Administer),
        sees_all: visit.sees_all(),
        frame: visit.frame("Subscriptions"),
    };
    layout::answer(StatusCode::OK, &list)
}

impl Row {
    fn of(subscription: &Subscription) -> Self {
        let settings = &subscription.settings;
        let health = &subscription.health;
        Self {
            href: path(subscription.id),
            name: settings.name.clone(),
            client: abridged(&settings.client.to_string()),
            host: match settings.url.port() {
                443 => settings.url.host().to_owned(),
                port => format!("{}:{port}", settings.url.host()),
            },
            state: Badge::of(subscription.state.as_str()),
            condition: Badge::of(health.condition.as_str()),
            cause: match subscription.state.reason() {
                Some(reason) => Some(reason.to_owned()),
                None => health.cause.clone(),
            },
        }
    }
}

/// The newest deliveries to it.
async fn latest(
    registry: &impl Registry,
    of: &Subscription,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let mut filter = DeliveryFilter::default();
    filter.client = Some(of.settings.client);
    filter.subscription = vec![of.id];
    Ok(registry.deliveries(&filter, None, LATEST).await?.items)
}

/// When one of these was attempted last.
fn last_at(deliveries: &[DeliveryRow]) -> Option<Timestamp> {
    deliveries.iter().filter_map(|row| row.last_at).max()
}

#[derive(Template)]
#[template(path = "subscription.html")]
struct One {
    frame: Frame,
    /// Where it is steered.
    path: String,
    state: Badge,
    condition: Badge,
    facts: Vec<Fact>,
    /// How its receiver did, newest first.
    transitions: Vec<Became>,
    lately: Lately,
    /// Its newest deliveries.
    rows: Vec<deliveries::Row>,
    all_deliveries: String,
    may_operate: bool,
    may_administer: bool,
    is_paused: bool,
    /// Something may be held of it, so that it can be resumed.
    is_held: bool,
}

/// A transition of its receiver's health.
struct Became {
    at: Moment,
    condition: Badge,
    cause: Option<String>,
}

impl Became {
    fn of(record: &TransitionRecord, now: Timestamp) -> Self {
        Self {
            at: Moment::of(record.at, now),
            condition: Badge::of(record.became.as_str()),
            cause: record.cause.clone(),
        }
    }
}

/// One of them.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let (now, registry) = (visit.now(), visit.desk.registry());
    let found = visit.desk.subscription(&id).await?;
    let transitions = registry.transitions(found.id).await?;
    let lately = Lately::of(registry, found.id, now).await?;
    let latest = latest(registry, &found).await?;
    let state = &found.state;
    let is_in_doubt = matches!(
        found.health.condition,
        Condition::Open | Condition::HalfOpen | Condition::Suspended
    );
    let page = One {
        path: path(found.id),
        state: Badge::of(state.as_str()),
        condition: Badge::of(found.health.condition.as_str()),
        facts: settings::facts(&found, last_at(&latest), now),
        transitions: (transitions.iter().take(TRANSITIONS))
            .map(|record| Became::of(record, now))
            .collect(),
        lately,
        rows: (latest.iter())
            .map(|row| deliveries::Row::of(row, now))
            .collect(),
        all_deliveries: format!("/deliveries?subscription={}", found.id),
        may_operate: visit.may(Permission::Operate),
        may_administer: visit.may(Permission::Administer),
        is_paused: *state == State::Paused,
        is_held: *state != State::Active || is_in_doubt,
        frame: visit.frame(&*found.settings.name),
    };
    layout::answer(StatusCode::OK, &page)
}

fn path(id: SubscriptionId) -> String {
    format!("/subscriptions/{id}")
}
