use clap::Args;
use tharsis::{
    Registry, Timestamp,
    health::{Condition, Health},
    system_now,
};

use super::Which;
use crate::{
    commands::{Context, documents::ReceiverDocument},
    output::{Exit, Failure, Table, text::moment},
};

/// Show how its receiver does, and what it has been through
///
/// While its breaker is `open`, deliveries are held and one of them is sent as a probe now and then, at the expense of
/// none of its retries. `resume` probes at once, and so does a change by `set` or `rotate` where nothing else holds it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription list --json | jq -r '.subscriptions[] | select(.health.condition == \"open\") | .id'")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let emitter = context.open().await?;
    let subscription = emitter.registry().find(options.which.id).await?;
    let transitions = emitter.registry().transitions(options.which.id).await?;
    let health = &subscription.health;
    if output.json {
        output.document(&ReceiverDocument::of(&subscription, &transitions))?;
        return Ok(Exit::Done);
    }
    let now = system_now();
    output.line(told(health, now))?;
    if !transitions.is_empty() {
        let mut table = Table::new(&["when", "became", "cause"]);
        for transition in &transitions {
            table.row([
                moment(transition.at, now),
                word(transition.became).to_owned(),
                transition.cause.clone().unwrap_or_default(),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

/// A receiver's health as people read it, in one line.
pub(super) fn told(health: &Health, now: Timestamp) -> String {
    let mut text = short(health);
    if let Some(since) = health.since {
        text.push_str(&format!(", since {}", moment(since, now)));
    }
    if let Some(since) = health.failing_since {
        text.push_str(&format!("; fails since {}", moment(since, now)));
    }
    if let Some(at) = health.probe_at {
        text.push_str(&format!("; next probe {}", moment(at, now)));
    }
    text
}

/// The same in a word, and why.
pub(super) fn short(health: &Health) -> String {
    let condition = word(health.condition);
    match &health.cause {
        Some(cause) => format!("{condition}: {cause}"),
        None => condition.to_owned(),
    }
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::HalfOpen => "half-open",
        other => other.as_str(),
    }
}
