//! The first page: what needs somebody, and how it goes.

use std::time::Duration;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    ClientId, Registry,
    delivery::End,
    health::Condition,
    store::{Status, WorkerRecord},
    subscription::{State, Subscription, Unreadable},
};

use super::{
    chart::{Chart, Unit},
    figures::{Figures, Flow, MOST_UNFINISHED},
    form::Form,
    layout::{self, Frame},
    markup::{Badge, Moment},
    trends,
    visit::Visit,
};
use crate::{
    Problem,
    text::{age, count, counted},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// So far back it counts what ended.
const BACK: Duration = Duration::from_secs(24 * 60 * 60);

/// So far back charts may look: each by what asks for it, the first unless it is asked.
const OVER: [(&str, Duration); 2] = [("3h", HOUR.saturating_mul(3)), ("24h", BACK)];

/// What is due for so long, and nothing holds it, needs somebody.
const OVERDUE: Duration = Duration::from_secs(60);

/// So many subscriptions are named; the list has the others.
const NAMED: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    frame: Frame,
    /// Nothing: all is well.
    needs: Vec<Need>,
    /// Whenever their events were published.
    unfinished: Vec<Count>,
    /// How long the first delivery that nothing holds has been due, to those who see all clients.
    overdue: Option<String>,
    /// How deliveries ended within the last day.
    ended: Vec<Count>,
    /// Of what was tried, the part that was delivered.
    success: Option<String>,
    subscriptions: String,
    charts: Vec<Chart>,
    /// How far they may look back.
    over: Vec<Over>,
    /// `None`: who delivers is not theirs to see.
    workers: Option<Vec<Worker>>,
}

/// Something that needs somebody, and where to go.
struct Need {
    /// What it is about.
    name: String,
    sentence: String,
    href: String,
    /// What is there.
    step: &'static str,
}

/// How far charts look back, and how it is asked for.
struct Over {
    word: &'static str,
    is_chosen: bool,
}

/// So many in a status.
struct Count {
    status: Badge,
    count: String,
    /// There may be more.
    more: bool,
    href: String,
}

struct Worker {
    id: String,
    host: String,
    pid: u32,
    version: String,
    shards: u32,
    since: Moment,
    /// How long ago it was last heard of.
    lease_age: String,
}

/// What needs somebody first. What is unfinished is counted anew; what ended was counted when it did.
pub(crate) async fn show(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let (now, desk) = (visit.now(), &visit.desk);
    let registry = desk.registry();
    let client = desk.client(None)?;
    let subscriptions = registry.list(client).await?;
    let figures = visit
        .shared()
        .figures
        .of(client, figures(&visit, client))
        .await?;
    let Figures {
        unfinished,
        more,
        minutes,
    } = &*figures;
    let day = Flow::of(minutes);
    let ended = ended(&day);
    let over = over(&asked);

    let mut needs = Vec::new();
    if !registry.owned().await? {
        needs.push(Need {
            name: "No worker".to_owned(),
            sentence: "nothing delivers at present: start tharsis run, or tharsis serve without --no-worker".to_owned(),
            href: "/deliveries?status=pending&status=retrying".to_owned(),
            step: "See what waits",
        });
    }
    let mut charts = trends::of_minutes(now, over, minutes);
    let mut overdue = None;
    let mut workers: Option<Vec<Worker>> = None;
    if visit.sees_all() {
        let depths = registry.depths(now - over).await?;
        charts.push(trends::of_backlog(now, over, &depths));
        let survey = registry.survey().await?;
        overdue = survey.overdue().map(age);
        if let Some(overdue) = survey.overdue().filter(|overdue| *overdue >= OVERDUE) {
            needs.push(Need {
                name: "Overdue".to_owned(),
                sentence: format!(
                    "a delivery that nothing holds has been due for {}",
                    age(overdue)
                ),
                href: "/deliveries?status=pending&status=retrying".to_owned(),
                step: "See what waits",
            });
        }
        let told = survey.workers.iter().map(|worker| Worker::of(worker, now));
        workers = Some(told.collect());
    }
    let concerning: Vec<Need> = subscriptions.iter().filter_map(of_subscription).collect();
    let unnamed = concerning.len().saturating_sub(NAMED);
    needs.extend(concerning.into_iter().take(NAMED));
    if unnamed > 0 {
        let unnamed = u64::try_from(unnamed).unwrap_or(u64::MAX);
        needs.push(Need {
            name: counted(unnamed, "more subscription", "more subscriptions"),
            sentence: "that are suspended, or whose receivers fail".to_owned(),
            href: "/subscriptions".to_owned(),
            step: "See all of them",
        });
    }
    needs.extend(of_counts(&ended, unfinished, *more));

    let number = u64::try_from(subscriptions.len()).unwrap_or(u64::MAX);
    let page = Page {
        success: day.success().map(|share| Unit::Share.told(share)),
        ended: shown(&ended, false, "&since=24h"),
        unfinished: shown(unfinished, *more, ""),
        overdue,
        charts,
        over: choices(over),
        subscriptions: counted(number, "subscription", "subscriptions"),
        frame: visit.frame("Overview"),
        needs,
        workers,
    };
    layout::answer(StatusCode::OK, &page)
}

impl Worker {
    fn of(worker: &WorkerRecord, now: tharsis::Timestamp) -> Self {
        Self {
            id: worker.id.to_string(),
            host: worker.host.clone(),
            pid: worker.pid,
            version: worker.version.clone(),
            shards: worker.shards,
            since: Moment::of(worker.since, now),
            lease_age: worker.lease_age.map_or_else(String::new, age),
        }
    }
}

/// What is costly to count.
async fn figures(visit: &Visit, client: Option<ClientId>) -> Result<Figures, Problem> {
    let (now, registry) = (visit.now(), visit.desk.registry());
    let unfinished = registry.unfinished(client, None, MOST_UNFINISHED).await?;
    let mut minutes = registry.minutes(client, now - BACK).await?;
    // A worker's clock may have been ahead.
    minutes.retain(|minute| minute.at <= now);
    Ok(Figures {
        unfinished: vec![
            (Status::Pending, unfinished.pending),
            (Status::Retrying, unfinished.retrying),
            (Status::Held, unfinished.held),
        ],
        more: unfinished.more,
        minutes,
    })
}

fn shown(counts: &[(Status, u64)], more: bool, and: &str) -> Vec<Count> {
    let shown = counts.iter().map(|(status, number)| {
        let word = status.as_str();
        Count {
            status: Badge::of(word),
            count: count(*number),
            more,
            href: format!("/deliveries?status={word}{and}"),
        }
    });
    shown.collect()
}

fn of(counts: &[(Status, u64)], wanted: Status) -> u64 {
    let mut found = counts.iter().filter(|(status, _)| *status == wanted);
    found.next().map_or(0, |(_, count)| *count)
}

/// How deliveries ended.
fn ended(flow: &Flow) -> [(Status, u64); 4] {
    [
        (End::Delivered, flow.delivered),
        (End::Dead, flow.dead),
        (End::Expired, flow.expired),
        (End::Refused, flow.refused),
    ]
    .map(|(end, count)| (Status::Ended(end), count))
}

/// How far the charts look back.
fn over(asked: &Form) -> Duration {
    let [(_, usual), (word, longer)] = OVER;
    match asked.text("over") {
        Some(asked) if asked == word => longer,
        _ => usual,
    }
}

fn choices(chosen: Duration) -> Vec<Over> {
    let choices = OVER.map(|(word, back)| Over {
        word,
        is_chosen: back == chosen,
    });
    choices.into()
}

fn of_counts(ended: &[(Status, u64)], unfinished: &[(Status, u64)], more: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    let dead = of(ended, Status::Ended(End::Dead));
    if dead > 0 {
        needs.push(Need {
            name: "Dead".to_owned(),
            sentence: format!(
                "{} of the last 24 h {} given up",
                counted(dead, "delivery", "deliveries"),
                if dead == 1 { "was" } else { "were" }
            ),
            href: "/deliveries?status=dead&since=24h".to_owned(),
            step: "See why",
        });
    }
    let held = of(unfinished, Status::Held);
    if held > 0 {
        needs.push(Need {
            name: "Held".to_owned(),
            sentence: format!(
                "{}{} {} until somebody lets them go, or the receiver is back",
                if more { "at least " } else { "" },
                counted(held, "delivery", "deliveries"),
                if held == 1 { "waits" } else { "wait" }
            ),
            href: "/deliveries?status=held".to_owned(),
            step: "See which",
        });
    }
    needs
}

/// What of a subscription needs somebody, if anything does.
fn of_subscription(subscription: &Subscription) -> Option<Need> {
    let health = &subscription.health;
    let sentence = match &subscription.state {
        State::Suspended { reason } => match Unreadable::parse(reason) {
            Some(unreadable) => format!(
                "suspended: {}; {}",
                unreadable.meaning(),
                unreadable.advice()
            ),
            None => format!("suspended: {reason}"),
        },
        State::Active | State::Paused => match health.condition {
            Condition::Open | Condition::HalfOpen => {
                let cause = health.cause.as_deref().unwrap_or("an unknown outcome");
                format!("its receiver fails, with {cause}")
            }
            Condition::Healthy | Condition::Throttled | Condition::Suspended => return None,
        },
    };
    Some(Need {
        name: subscription.settings.name.clone(),
        sentence,
        href: format!("/subscriptions/{}", subscription.id),
        step: "See its health",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_look_back_as_far_as_is_asked() {
        for (query, hours) in [("", 3), ("over=24h", 24), ("over=3h", 3), ("over=9d", 3)] {
            let asked = Form::parse(query.as_bytes());
            assert_eq!(over(&asked), HOUR * hours, "{query}");
        }
    }

    #[test]
    fn what_ended_is_told_by_its_end() {
        let flow = Flow {
            attempts: 9,
            delivered: 4,
            dead: 3,
            expired: 2,
            refused: 1,
            ..Flow::default()
        };
        let told: Vec<_> = (shown(&ended(&flow), false, "&since=24h").into_iter())
            .map(|count| (count.href, count.count))
            .collect();
        let [first, ..] = &*told else {
            panic!("something ended");
        };
        assert_eq!(first.0, "/deliveries?status=delivered&since=24h");
        let counts: Vec<_> = told.iter().map(|(_, count)| &**count).collect();
        assert_eq!(counts, ["4", "3", "2", "1"]);
    }

    #[test]
    fn what_was_given_up_and_what_is_held_need_somebody() {
        let dead = [(Status::Ended(End::Dead), 1)];
        let needs = of_counts(&dead, &[(Status::Held, 2_000)], false);
        let told: Vec<_> = needs.iter().map(|need| &*need.sentence).collect();
        assert_eq!(
            told,
            [
                "1 delivery of the last 24 h was given up",
                "2,000 deliveries wait until somebody lets them go, or the receiver is back",
            ]
        );
        assert!(of_counts(&[], &[(Status::Pending, 9)], true).is_empty());
        let needs = of_counts(&[], &[(Status::Held, 2_000)], true);
        let told: Vec<_> = needs.iter().map(|need| &*need.sentence).collect();
        assert_eq!(
            told,
            ["at least 2,000 deliveries wait until somebody lets them go, or the receiver is back"]
        );
    }
}
