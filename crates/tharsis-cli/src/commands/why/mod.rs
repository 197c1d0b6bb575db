//! `tharsis why`: of one event, to whom it went, to whom not, and what its deliveries wait for.

mod text;

use clap::Args;
use tharsis::{EventId, Registry, SubscriptionId, store::Candidate, subscription::Subscription};
use tharsis_admin::why::judge;

use super::{Context, documents::WhyDocument};
use crate::output::{Exit, Failure};

/// Say of an event to whom it went, to whom not and why, and what holds it now
///
/// The first line is the answer. Below it stands each subscription of the event's client: each attempt and what came of
/// it, what holds the delivery, what comes next and when, and what to run. A filter and the types of a subscription are
/// judged as they are today.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11 \\
      --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11 --json | jq -r .answer")]
pub(crate) struct Options {
    /// Its id, the first half of a delivery's name
    #[arg(value_name = "EVENT")]
    event: EventId,

    /// This subscription alone
    #[arg(long, value_name = "SUBSCRIPTION")]
    subscription: Option<SubscriptionId>,
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let emitter = context.open().await?;
    let mut whereabouts = emitter.registry().whereabouts(options.event).await?;
    if let Some(id) = options.subscription {
        whereabouts.candidates.retain(|one| one.id == id);
        // One that it could not have gone to: of another client.
        if whereabouts.candidates.is_empty() {
            let other = emitter.registry().find(id).await?;
            whereabouts.candidates.push(candidate(other));
        }
    }
    let answer = judge(&whereabouts);
    if output.json {
        output.document(&WhyDocument::of(&whereabouts, &answer))?;
    } else {
        output.line(text::for_people(&whereabouts, &answer).trim_end())?;
    }
    Ok(Exit::Done)
}

/// A subscription without a delivery.
fn candidate(subscription: Subscription) -> Candidate {
    Candidate {
        id: subscription.id,
        name: subscription.settings.name.clone(),
        created_at: subscription.created_at,
        removed_at: None,
        held_since: None,
        subscription: Some(subscription),
        delivery: None,
        place: None,
    }
}
