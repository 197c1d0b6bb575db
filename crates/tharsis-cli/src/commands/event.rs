//! `tharsis event`: what happened, and who was told.

use clap::{Args, Subcommand};
use tharsis::{EventId, Registry, Timestamp, store::EventRecord, system_now};

use super::{
    Context, delivery,
    documents::{EventDocument, refusal},
};
use crate::output::{
    Exit, Failure, fields,
    text::{excerpt, moment},
};

/// Look at events
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  tharsis event show 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11")]
pub(crate) enum Command {
    Show(Show),
}

/// Show one event: its payload byte for byte, and its deliveries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis event show 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
  tharsis event show 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11 --json | jq .payload")]
pub(crate) struct Show {
    /// Its id, the first half of a delivery's name
    #[arg(value_name = "EVENT")]
    id: EventId,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let Command::Show(options) = command;
    let (output, now) = (context.output, system_now());
    let event = context.open().await?.registry().event(options.id).await?;
    if output.json {
        output.document(&EventDocument::from(&event))?;
        return Ok(Exit::Done);
    }
    output.line(for_people(&event, now))?;
    if event.deliveries.is_empty() {
        output.line(if event.refused.is_some() {
            "It was refused, and goes to nobody."
        } else if event.routed {
            "Nobody wanted it."
        } else {
            "It is not routed yet: start `tharsis run`."
        })?;
    } else {
        output.table(&delivery::table(&event.deliveries, now))?;
    }
    Ok(Exit::Done)
}

fn for_people(event: &EventRecord, now: Timestamp) -> String {
    let named = |name: &str, value: String| [name.to_owned(), value];
    let mut pairs = vec![
        named("event", event.id.to_string()),
        named("type", event.event_type.clone()),
        named("client", event.client.to_string()),
    ];
    pairs.extend(
        event
            .campaign
            .iter()
            .map(|campaign| named("campaign", campaign.clone())),
    );
    pairs.extend(
        event
            .recipient
            .iter()
            .map(|recipient| named("recipient", recipient.clone())),
    );
    pairs.push(named("published", moment(event.published_at, now)));
    pairs.extend(
        event
            .not_before
            .map(|at| named("not before", moment(at, now))),
    );
    pairs.extend(event.expires_at.map(|at| named("expires", moment(at, now))));
    pairs.extend(
        event
            .refused
            .iter()
            .map(|why| named("refused", refusal(why).sentence())),
    );
    format!(
        "{}\n{}\n",
        fields(pairs),
        excerpt(&event.payload, usize::MAX)
    )
}
