//! `tharsis subscription`: who wants which events, and where.

mod add;
mod draft;
mod export;
mod filter_test;
mod health;
mod import;
mod list;
mod portable;
mod recover;
mod remove;
mod rotate;
mod set;
mod show;
mod state;
mod test;

use clap::{Args, Subcommand, ValueEnum};
use tharsis::{
    CheckMethod, SubscriptionId, Timestamp,
    alert::Alerts,
    format_duration,
    health::Limits,
    order::{OnDead, Order},
    subscription::{Held, Subscription},
};

use super::Context;
use crate::output::{
    Exit, Failure,
    text::{inert, moment},
};

/// Register webhooks and look after them
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Shop \\
      --url https://shop.example/hooks
  tharsis subscription list
  tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) enum Command {
    Add(add::Options),
    List(list::Options),
    Show(show::Options),
    Health(health::Options),
    Set(set::Options),
    Pause(state::Pause),
    Resume(state::Resume),
    Recover(recover::Options),
    Rotate(rotate::Options),
    Test(test::Options),
    FilterTest(filter_test::Options),
    Remove(remove::Options),
    Export(export::Options),
    Import(import::Options),
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Add(options) => add::run(context, options).await,
        Command::List(options) => list::run(context, &options).await,
        Command::Show(options) => show::run(context, &options).await,
        Command::Health(options) => health::run(context, &options).await,
        Command::Set(options) => set::run(context, options).await,
        Command::Pause(options) => state::pause(context, &options).await,
        Command::Resume(options) => state::resume(context, &options).await,
        Command::Recover(options) => recover::run(context, options).await,
        Command::Rotate(options) => rotate::run(context, &options).await,
        Command::Test(options) => test::run(context, options).await,
        Command::FilterTest(options) => filter_test::run(context, &options).await,
        Command::Remove(options) => remove::run(context, &options).await,
        Command::Export(options) => export::run(context, &options).await,
        Command::Import(options) => import::run(context, options).await,
    }
}

/// The subscription that a command is about.
#[derive(Debug, Args)]
struct Which {
    /// Its id, the first column of `tharsis subscription list`
    #[arg(value_name = "SUBSCRIPTION")]
    id: SubscriptionId,
}

/// How the URL proves that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// One HEAD request that must be answered 200
    Head,
    /// The test event by POST, for receivers that know no HEAD
    Post,
}

impl From<Check> for CheckMethod {
    fn from(check: Check) -> Self {
        match check {
            Check::Head => Self::Head,
            Check::Post => Self::Post,
        }
    }
}

/// When its deliveries are held, and when it is suspended.
fn breaker(limits: Limits) -> String {
    let opens = match limits.breaker {
        Some(most) => format!("opens after {most} failures in a row"),
        None => return "never opens".to_owned(),
    };
    match limits.suspend_after {
        Some(after) => format!("{opens}; suspended after {}", format_duration(after)),
        None => format!("{opens}; never suspended"),
    }
}

/// Which of its deliveries wait for each other, and for how long.
fn in_words(order: &Order) -> String {
    let by = inert(&order.by.to_string()).into_owned();
    match order.on_dead {
        OnDead::GiveUp => format!("{by}; the next goes when one is dead"),
        OnDead::Hold => format!("{by}; one that is dead holds those after it"),
    }
}

/// Who is told when it fails, and how often.
fn alerts(alerts: &Alerts) -> String {
    let mail: Vec<_> = alerts.mail.iter().map(|address| address.as_str()).collect();
    let every = format_duration(alerts.every);
    format!("to {}, each cause at most every {every}", mail.join(", "))
}

/// A subscription as people read it.
fn for_people(subscription: &Subscription, now: Timestamp) -> Vec<[String; 2]> {
    let settings = &subscription.settings;
    let events = if settings.events.is_empty() && settings.profile.events.is_empty() {
        "all".to_owned()
    } else if settings.events.is_empty() {
        format!(
            "all of {}: {}",
            settings.profile.name,
            settings.profile.events.join(", ")
        )
    } else {
        settings
            .events
            .iter()
            .map(|event| event.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let state = match subscription.state.reason() {
        Some(reason) => format!("{}: {reason}", subscription.state),
        None => subscription.state.to_string(),
    };
    let state = match subscription.resuming {
        Some(Held::Latest) => format!("{state}, about to go on with the latest only"),
        Some(_) => format!("{state}, about to go on without what was held"),
        None => state,
    };
    let retry = match settings.retry.window() {
        Some(window) => format!("{} within {}", settings.retry, format_duration(window)),
        None => settings.retry.to_string(),
    };
    let secret = match &subscription.secret_fingerprint {
        Some(fingerprint) => match subscription.secret_set_at {
            Some(at) => format!("fingerprint {fingerprint}, set {}", moment(at, now)),
            None => format!("fingerprint {fingerprint}"),
        },
        None if settings.profile.signature.is_none() => {
            "none: the profile signs nothing".to_owned()
        }
        None => "none: requests go out without a signature".to_owned(),
    };
    let mut rows = vec![
        ["subscription".to_owned(), subscription.id.to_string()],
        ["name".to_owned(), settings.name.clone()],
        ["client".to_owned(), settings.client.to_string()],
        ["url".to_owned(), settings.url.given().to_owned()],
        ["state".to_owned(), state],
        ["health".to_owned(), health::told(&subscription.health, now)],
        ["profile".to_owned(), settings.profile.name.to_string()],
        ["events".to_owned(), events],
        ["content type".to_owned(), settings.content_type.clone()],
        ["timeout".to_owned(), format_duration(settings.timeout)],
        ["retry".to_owned(), retry],
        ["breaker".to_owned(), breaker(settings.limits)],
        [
            "in flight".to_owned(),
            format!("at most {}", settings.max_in_flight),
        ],
    ];
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if !settings.alerts.mail.is_empty() {
        row("alerts", alerts(&settings.alerts));
    }
    if let Some(rate) = settings.rate {
        row("rate", rate.to_string());
    }
    if let Some(order) = &settings.order {
        row("order", in_words(order));
    }
    if settings.payload_limit != settings.profile.payload_limit {
        row("body", format!("at most {} bytes", settings.payload_limit));
    }
    if let Some(batch) = settings.batch {
        let linger = format_duration(batch.linger);
        row("batch", format!("up to {} after {linger}", batch.items));
    }
    for (name, value) in &settings.profile_settings {
        row(name, inert(value).into_owned());
    }
    if !settings.fields.is_all() {
        row("fields", inert(&settings.fields.to_string()).into_owned());
    }
    if let Some(filter) = &settings.filter {
        row("filter", inert(filter.text()).into_owned());
    }
    if settings.traceparent {
        row("traceparent", "sent along".to_owned());
    }
    if !subscription.headers.is_empty() {
        row("headers", subscription.headers.join(", "));
    }
    row("secret", secret);
    if let Some(key) = &subscription.public_key {
        row("public key", key.clone());
    }
    if let Some(until) = subscription.overlap_until.filter(|until| *until > now) {
        row(
            "former secret",
            format!("signs too, until {}", moment(until, now)),
        );
    }
    row("added", moment(subscription.created_at, now));
    row("changed", moment(subscription.updated_at, now));
    rows
}
