//! Events that are looked for: by id, or among what went to anybody.

use std::time::Instant;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    ClientId, EventId, Registry, Timestamp,
    store::{DeliveryFilter, EventRecord, StoreError},
    text::excerpt,
};

use crate::{
    Problem,
    pages::{
        PATIENCE,
        deliveries::abridged,
        fields::Input,
        form::Form,
        layout::{self, Frame},
        markup::Moment,
        visit::Visit,
    },
    search,
    text::counted,
};

/// So many make a page; there may be nearly twice as many on it.
const PAGE: u32 = 25;

/// So much of a name is shown, in characters.
const NAME: usize = 80;

#[derive(Template)]
#[template(path = "events.html")]
struct List {
    frame: Frame,
    /// Why nothing was looked for, where it is about no field.
    problem: Option<String>,
    inputs: Vec<Input>,
    rows: Vec<Row>,
    /// Where it goes on.
    next: Option<String>,
    /// Where it was searched for no longer.
    searched_until: Option<Moment>,
    sees_all: bool,
}

/// An event as the list tells it.
struct Row {
    href: String,
    /// Abridged.
    id: String,
    event_type: String,
    /// Abridged.
    client: String,
    campaign: Option<String>,
    recipient: Option<String>,
    published: Moment,
    deliveries: String,
}

impl Row {
    fn of(event: &EventRecord, now: Timestamp) -> Self {
        let name = |text: &String| excerpt(text.as_bytes(), NAME);
        let deliveries = u64::try_from(event.deliveries.len()).unwrap_or(u64::MAX);
        Self {
            href: path(event.id),
            id: abridged(&event.id.to_string()),
            event_type: event.event_type.clone(),
            client: abridged(&event.client.to_string()),
            campaign: event.campaign.as_ref().map(name),
            recipient: event.recipient.as_ref().map(name),
            published: Moment::of(event.published_at, now),
            deliveries: counted(deliveries, "delivery", "deliveries"),
        }
    }
}

/// What was found, and where it goes on.
#[derive(Default)]
struct Found {
    rows: Vec<Row>,
    next: Option<String>,
    searched_until: Option<Timestamp>,
}

/// Newest first, as far as they match. An id leads to its event.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let client = visit.desk.client(asked.word("client")?)?;
    let (found, problem) = match asked.word::<EventId>("id") {
        Ok(Some(id)) => {
            let event = visit.desk.event(&id.to_string()).await?;
            return Ok(Redirect::to(&path(event.id)).into_response());
        }
        Err(invalid) => (Found::default(), Some(Problem::from(invalid))),
        Ok(None) => match found(&visit, client, &asked).await {
            Ok(found) => (found, None),
            Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
                (Found::default(), Some(problem))
            }
            Err(problem) => return Err(problem),
        },
    };
    let inputs: Vec<Input> = (inputs(&visit).into_iter())
        .map(|input| input.after(&asked, problem.as_ref()))
        .collect();
    let is_beside = inputs.iter().any(|input| input.problem.is_some());
    let unplaced = problem.as_ref().filter(|_| !is_beside);
    let status = (problem.as_ref()).map_or(StatusCode::OK, Problem::status);
    let list = List {
        problem: unplaced.map(layout::sentence),
        inputs,
        rows: found.rows,
        next: (found.next.as_deref())
            .map(|next| format!("/events?{}", asked.with("after", next).query())),
        searched_until: (found.searched_until).map(|at| Moment::of(at, visit.now())),
        sees_all: visit.sees_all(),
        frame: visit.frame("Events"),
    };
    layout::answer(status, &list)
}

/// Goes through deliveries, for these are what can be looked through, and looks at the event of each: whom it is about stands
/// there alone. One that went to several may stand at the end of a page and at the beginning of the next.
async fn found(visit: &Visit, client: Option<ClientId>, asked: &Form) -> Result<Found, Problem> {
    let (began, registry) = (Instant::now(), visit.desk.registry());
    let mut filter = DeliveryFilter::default();
    filter.client = client;
    filter.campaign = asked.text("campaign").map(str::to_owned);
    let recipient = asked.text("recipient");
    let mut found = Found {
        next: asked.text("after").map(str::to_owned),
        ..Found::default()
    };
    let mut last: Option<EventId> = None;
    loop {
        let patience = PATIENCE.saturating_sub(began.elapsed());
        let page = search::deliveries(registry, &filter, found.next.take(), PAGE, patience).await?;
        found.next = page.next;
        for row in &page.items {
            let id = row.id.event;
            // Its deliveries lie side by side.
            if last.replace(id) == Some(id) {
                continue;
            }
            let event = match registry.event(id).await {
                Ok(event) => event,
                // It is kept no longer.
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if recipient.is_none_or(|recipient| event.recipient.as_deref() == Some(recipient)) {
                found.rows.push(Row::of(&event, visit.now()));
            }
        }
        let is_full = found.rows.len() >= PAGE as usize;
        if found.next.is_none() || is_full {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            let reached = page.items.last().map(|row| row.published_at);
            found.searched_until = page.searched_until.or(reached);
            return Ok(found);
        }
    }
}

fn inputs(visit: &Visit) -> Vec<Input> {
    let mut inputs = vec![
        Input::new("id", "Event").hint("its id; it leads there"),
        Input::new("campaign", "Campaign"),
        Input::new("recipient", "Recipient").hint("to the letter"),
    ];
    if visit.sees_all() {
        inputs.push(Input::new("client", "Client").hint("its id"));
    }
    inputs
}

fn path(id: EventId) -> String {
    format!("/events/{id}")
}
