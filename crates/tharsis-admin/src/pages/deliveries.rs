//! Deliveries: what became of events for subscriptions.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    DeliveryId, Invalid, Registry, SubscriptionId, Timestamp,
    delivery::{End, codes},
    signer::{self, Item},
    store::{
        AttemptRecord, CommandAccepted, DeliveryDetail, DeliveryFilter, DeliveryRow, Page, Status,
    },
    text::excerpt,
    token::Permission,
};

use super::{
    PATIENCE, campaigns,
    fields::{Choice, Fact, Input},
    form::Form,
    layout::{self, Frame},
    markup::{Badge, Moment},
    request::{self, Shown},
    sample::{self, Sample},
    visit::{Path, Visit},
};
use crate::{
    Problem, search,
    text::{measured, moment},
};

/// Deliveries of one page.
const PAGE: u32 = 50;

/// Attempts of one page, the newest: each may bring along what was answered.
const ATTEMPTS: usize = 20;

/// So much of an answer is shown, in characters.
const EXCERPT: usize = 600;

/// Where subscriptions are no more, one is chosen; else its id is typed.
pub(crate) const CHOSEN: usize = 50;

/// How a delivery may stand.
const STATUSES: [Status; 8] = [
    Status::Pending,
    Status::Retrying,
    Status::Held,
    Status::Ended(End::Delivered),
    Status::Ended(End::Dead),
    Status::Ended(End::Expired),
    Status::Ended(End::Refused),
    Status::Ended(End::Cancelled),
];

/// A delivery as lists tell it.
pub(crate) struct Row {
    pub(crate) href: String,
    /// Its event, abridged.
    pub(crate) event: String,
    pub(crate) status: Badge,
    pub(crate) attempts: u32,
    /// The code of the last outcome.
    pub(crate) reason: String,
    pub(crate) event_type: String,
    pub(crate) subscription: String,
    pub(crate) subscription_href: String,
    pub(crate) published: Moment,
    pub(crate) due: Option<Moment>,
}

impl Row {
    pub(crate) fn of(row: &DeliveryRow, now: Timestamp) -> Self {
        Self {
            href: path(row.id),
            event: abridged(&row.id.event.to_string()),
            status: Badge::of(row.status.as_str()),
            attempts: row.attempts,
            reason: row.code.clone().unwrap_or_default(),
            event_type: row.event_type.clone(),
            subscription: row.subscription_name.clone(),
            subscription_href: format!("/subscriptions/{}", row.id.subscription),
            published: Moment::of(row.published_at, now),
            due: row.due_at.map(|at| Moment::of(at, now)),
        }
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    frame: Frame,
    /// Why nothing was looked for.
    problem: Option<String>,
    statuses: Vec<Choice>,
    /// Empty: too many to choose from.
    subscriptions: Vec<Choice>,
    inputs: Vec<Input>,
    rows: Vec<Row>,
    /// Where those that match are sent again; `None`: not theirs to do.
    again: Option<String>,
    /// Where it goes on.
    next: Option<String>,
    /// Where it was searched for no longer.
    searched_until: Option<Moment>,
    /// What comes anew stands on the first page.
    is_live: bool,
}

/// Newest event first, as far as they match.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let (now, registry) = (visit.now(), visit.desk.registry());
    let client = visit.desk.client(asked.word("client")?)?;
    let wanted = wanted(&asked, now).map(|mut filter| {
        filter.client = client;
        filter
    });
    let found = match &wanted {
        Ok(filter) => {
            let after = asked.text("after").map(str::to_owned);
            let page = search::deliveries(registry, filter, after, PAGE, PATIENCE).await;
            page.map_err(Problem::from)
        }
        Err(invalid) => Err(Problem::from(invalid.clone())),
    };
    let (page, problem) = match found {
        Ok(page) => (page, None),
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            (nothing(), Some(problem))
        }
        Err(problem) => return Err(problem),
    };
    let next = page.next.as_deref().map(|next| {
        let mut onward = asked.clone().with("after", next);
        // What was so long ago is longer ago by then, and the list would be another one.
        if let Ok(filter) = &wanted {
            for (name, at) in [("since", filter.since), ("until", filter.until)] {
                onward = match at {
                    Some(at) => onward.with(name, &at.to_string()),
                    None => onward,
                };
            }
        }
        format!("/deliveries?{}", onward.query())
    });
    let subscriptions = registry.list(client).await?;
    let chosen = asked.text("subscription").unwrap_or_default();
    let mut choices: Vec<Choice> = Vec::new();
    if subscriptions.len() <= CHOSEN {
        choices.extend(subscriptions.iter().map(|one| {
            let id = one.id.to_string();
            Choice {
                is_chosen: id == chosen,
                value: id,
                label: one.settings.name.clone(),
            }
        }));
    }
    let again = (problem.is_none() && visit.may(Permission::Operate))
        .then(|| format!("/replays/new?{}", asked.clone().with("after", "").query()));
    let status = match problem.is_some() {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::OK,
    };
    let list = List {
        frame: visit.frame("Deliveries"),
        statuses: statuses(&asked),
        inputs: inputs(&visit, &asked, problem.as_ref(), choices.is_empty()),
        subscriptions: choices,
        problem: problem.as_ref().map(layout::sentence),
        rows: page.items.iter().map(|row| Row::of(row, now)).collect(),
        again,
        next,
        searched_until: page.searched_until.map(|at| Moment::of(at, now)),
        is_live: problem.is_none() && asked.text("after").is_none(),
    };
    layout::answer(status, &list)
}

/// Which of them are asked for. Whose they are is for the desk to say.
fn wanted(asked: &Form, now: Timestamp) -> Result<DeliveryFilter, Invalid> {
    let status = |word: &str| {
        let status = Status::parse(word);
        status.ok_or_else(|| Invalid::new("bad_status", "is no status of a delivery").at("status"))
    };
    let mut filter = DeliveryFilter::default();
    filter.status = asked.all("status").map(status).collect::<Result<_, _>>()?;
    let subscription = asked.word::<SubscriptionId>("subscription")?;
    filter.subscription = subscription.into_iter().collect();
    let event_type = asked.text("type").map(str::to_owned);
    filter.event_type = event_type.into_iter().collect();
    filter.campaign = asked.text("campaign").map(str::to_owned);
    filter.event = asked.word("event")?;
    filter.since = asked.instant("since", now)?;
    filter.until = asked.instant("until", now)?;
    Ok(filter)
}

fn nothing() -> Page<DeliveryRow> {
    Page {
        items: Vec::new(),
        next: None,
        searched_until: None,
    }
}

/// To choose how those may stand that are meant.
pub(crate) fn statuses(asked: &Form) -> Vec<Choice> {
    let choices = STATUSES.map(|status| {
        let word = status.as_str();
        Choice {
            value: word.to_owned(),
            label: word.to_owned(),
            is_chosen: asked.all("status").any(|asked| asked == word),
        }
    });
    choices.into()
}

fn inputs(
    visit: &Visit,
    asked: &Form,
    problem: Option<&Problem>,
    types_subscription: bool,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    if types_subscription {
        inputs.push(Input::new("subscription", "Subscription").hint("its id"));
    }
    inputs.push(Input::new("type", "Event type"));
    inputs.push(Input::new("campaign", "Campaign"));
    inputs.push(Input::new("event", "Event").hint("its id"));
    if visit.sees_all() {
        inputs.push(Input::new("client", "Client").hint("its id"));
    }
    let when = "how long ago, such as 24h; or when: 2026-01-31T12:30:00Z";
    inputs.push(Input::new("since", "Published since").hint(when));
    inputs.push(Input::new("until", "Published before").hint("in the same way"));
    let inputs = inputs.into_iter();
    inputs.map(|input| input.after(asked, problem)).collect()
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct One {
    frame: Frame,
    status: Badge,
    facts: Vec<Fact>,
    attempts: Vec<Tried>,
    /// Attempts that are older than those.
    left_out: usize,
    /// Where it is steered; `None`: it has ended, or is not theirs to steer.
    steer: Option<String>,
    /// How it is sent again.
    again: Option<String>,
    /// Where its request is shown, to whoever may send one.
    request: Option<String>,
}

/// An attempt, and what came of it.
struct Tried {
    title: String,
    at: Moment,
    took: Option<String>,
    code: String,
    status: Option<u16>,
    meaning: Option<&'static str>,
    advice: Option<&'static str>,
    detail: Option<String>,
    /// The beginning of what was answered.
    excerpt: Option<String>,
    end: Option<Badge>,
    due: Option<Moment>,
}

impl Tried {
    fn of(record: &AttemptRecord, now: Timestamp) -> Self {
        let attempt = &record.attempt;
        let known = codes::find(&attempt.code);
        let is_request = attempt.number > 0;
        Self {
            title: match is_request {
                true => format!("Attempt {}", attempt.number),
                false => "Without a request".to_owned(),
            },
            at: Moment::of(attempt.at, now),
            took: is_request.then(|| measured(attempt.duration)),
            code: attempt.code.clone(),
            status: attempt.status,
            meaning: known.map(|known| known.meaning),
            advice: known
                .map(|known| known.advice)
                .filter(|advice| *advice != "nothing"),
            detail: (attempt.detail.as_deref()).map(|detail| excerpt(detail.as_bytes(), EXCERPT)),
            excerpt: (!attempt.excerpt.is_empty()).then(|| excerpt(&attempt.excerpt, EXCERPT)),
            end: record.end.map(|end| Badge::of(end.as_str())),
            due: record.due_at.map(|at| Moment::of(at, now)),
        }
    }
}

/// One of them, with its attempts.
pub(crate) async fn show(
    visit: Visit,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let now = visit.now();
    let detail = visit.desk.delivery(&event, &subscription).await?;
    let DeliveryDetail { row, attempts } = &detail;
    let left_out = attempts.len().saturating_sub(ATTEMPTS);
    let is_unfinished = !matches!(row.status, Status::Ended(_));
    let may_go_again = matches!(row.status, Status::Ended(End::Dead | End::Cancelled));
    let page = One {
        frame: visit.frame("Delivery"),
        status: Badge::of(row.status.as_str()),
        facts: facts(row, now),
        attempts: (attempts.iter().rev().take(ATTEMPTS))
            .map(|record| Tried::of(record, now))
            .collect(),
        left_out,
        steer: (is_unfinished && visit.may(Permission::Operate)).then(|| path(row.id)),
        again: may_go_again.then(|| format!("tharsis replay {}", row.id)),
        request: (visit.may(Permission::Operate)).then(|| format!("{}/request", path(row.id))),
    };
    layout::answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "delivery_request.html")]
struct Requested {
    frame: Frame,
    /// Of the delivery.
    path: String,
    subscription: String,
    name: String,
    /// The attempt whose time it is of.
    of: String,
    request: Shown,
    signed: Option<String>,
    samples: Vec<Sample>,
}

/// What is sent, byte for byte: the request itself is kept nowhere, and made anew as a worker makes it.
pub(crate) async fn request(
    visit: Visit,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let DeliveryDetail { row, attempts } = desk.delivery(&event, &subscription).await?;
    let found = desk.subscription(&subscription).await?;
    let event = desk.event(&event).await?;
    let credentials = desk.registry().credentials(found.id).await?;
    let last = (attempts.iter().rev()).find(|record| record.attempt.number > 0);
    let item = Item {
        id: row.id,
        event_type: &event.event_type,
        payload: &event.payload,
        fresh: None,
    };
    let at = last.map_or(visit.now(), |record| record.attempt.at);
    let made = signer::request(&found.settings, &credentials, &[item], at)?;
    let page = Requested {
        frame: visit.frame("Request"),
        path: path(row.id),
        subscription: found.id.to_string(),
        of: match last {
            Some(record) => format!("attempt {}", record.attempt.number),
            None => "now".to_owned(),
        },
        request: Shown::of(&made),
        signed: request::signed(&found),
        samples: sample::all(&found),
        name: found.settings.name,
    };
    layout::answer(StatusCode::OK, &page)
}

fn facts(row: &DeliveryRow, now: Timestamp) -> Vec<Fact> {
    let event = row.id.event.to_string();
    let subscription = format!("/subscriptions/{}", row.id.subscription);
    let mut facts = vec![
        Fact::new("Event", &*event).at(format!("/events/{event}")),
        Fact::new("Type", &*row.event_type),
        Fact::new("Subscription", &*row.subscription_name).at(subscription),
        Fact::new("Client", row.client.to_string()),
    ];
    facts.extend((row.campaign.as_deref()).map(|campaign| {
        Fact::new("Campaign", campaign).at(campaigns::place(row.client, campaign, None))
    }));
    facts.push(Fact::new("Published", moment(row.published_at, now)));
    facts.push(Fact::new("Attempts", row.attempts.to_string()));
    facts.extend((row.due_at).map(|at| Fact::new("Next attempt", moment(at, now))));
    facts
}

/// Has it tried now.
pub(crate) async fn retry(
    visit: Visit,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let id = desk.delivery(&event, &subscription).await?.row.id;
    let accepted = desk.registry().retry(id, desk.by()).await?;
    Ok(told(&visit, id, "It is tried", accepted))
}

/// Gives it up.
pub(crate) async fn cancel(
    visit: Visit,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let id = desk.delivery(&event, &subscription).await?.row.id;
    let accepted = desk.registry().cancel(id, desk.by()).await?;
    Ok(told(&visit, id, "It is ended as cancelled", accepted))
}

/// The owner carries it out.
fn told(visit: &Visit, id: DeliveryId, what: &str, accepted: CommandAccepted) -> Response {
    visit.tell(match accepted.owned {
        true => format!("{what} in a moment."),
        false => format!("{what} as soon as something delivers: nothing does at present."),
    });
    Redirect::to(&path(id)).into_response()
}

fn path(id: DeliveryId) -> String {
    format!("/deliveries/{id}")
}

/// An id short enough for a table, and long enough to be told from others.
pub(crate) fn abridged(id: &str) -> String {
    let end = id.len().saturating_sub(8);
    match (id.get(..8), id.get(end..)) {
        (Some(first), Some(last)) if end > 8 => format!("{first}…{last}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<DeliveryFilter, Invalid> {
        let now = Timestamp::from_millis(1_700_000_000_000);
        wanted(&Form::parse(query.as_bytes()), now)
    }

    #[test]
    fn what_is_asked_for_is_read_from_the_form() {
        assert_eq!(read("status=&type=&since="), Ok(DeliveryFilter::default()));
        let wanted = read("status=dead&status=expired&type=nudge&campaign=spring+sale&since=1h");
        let wanted = wanted.expect("a filter");
        assert_eq!(
            wanted.status,
            [Status::Ended(End::Dead), Status::Ended(End::Expired)]
        );
        assert_eq!(wanted.event_type, ["nudge"]);
        assert_eq!(wanted.campaign.as_deref(), Some("spring sale"));
        let since = Timestamp::from_millis(1_699_996_400_000);
        assert_eq!(wanted.since, Some(since));
    }

    #[test]
    fn what_is_asked_wrongly_is_told_by_its_field() {
        for (query, field) in [
            ("status=lost", "status"),
            ("subscription=shop", "subscription"),
            ("event=1", "event"),
            ("until=soon", "until"),
        ] {
            let refused = read(query).expect_err("it is refused");
            assert_eq!(refused.field.as_deref(), Some(field));
        }
    }

    #[test]
    fn an_id_is_abridged_to_what_tells_it_from_others() {
        let id = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
        assert_eq!(abridged(id), "019b2f6e…5f6b2c11");
        assert_eq!(abridged("short"), "short");
    }
}
