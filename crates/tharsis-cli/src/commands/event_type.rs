//! `tharsis event-type`: what documented senders tell, and what Tharsis itself does, with a sample and a JSON Schema of each.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::payload::CATALOGUE;

use super::{
    Context,
    documents::{DescribedDocument, EventTypeDocument},
};
use crate::output::{Exit, Failure, Table, text::excerpt};

/// Look at the event types that are documented
///
/// An event of any other type may hold whatever JSON object it likes.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis event-type list
  tharsis event-type show nudge
  tharsis event-type show reward.earned --json | jq .schema")]
pub(crate) enum Command {
    List(List),
    Show(Show),
}

/// List them
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis event-type list")]
pub(crate) struct List {}

/// Show one: a sample to publish, and the JSON Schema of its payload
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis event-type show nudge
  tharsis event-type show signal --json | jq -c .example | tharsis publish -")]
pub(crate) struct Show {
    /// The type, the first column of `tharsis event-type list`
    #[arg(value_name = "TYPE")]
    name: String,
}

pub(crate) fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::List(_) => list(context),
        Command::Show(options) => show(context, &options.name),
    }
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            event_types: Vec<EventTypeDocument>,
        }
        let event_types = CATALOGUE.iter().copied().map(EventTypeDocument::from);
        output.document(&Document {
            event_types: event_types.collect(),
        })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["type", "profile", "summary"]);
    for known in CATALOGUE {
        table.row([known.name, known.profile, known.summary].map(str::to_owned));
    }
    output.table(&table)?;
    Ok(Exit::Done)
}

fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let output = context.output;
    let documented = (CATALOGUE.iter().copied())
        .find(|documented| documented.name == name)
        .ok_or_else(|| {
            let known: Vec<_> = CATALOGUE.iter().map(|known| known.name).collect();
            Failure::usage("unknown_event_type", "no document describes it")
                .at(name)
                .hint(format!("choose one of: {}", known.join(", ")))
        })?;
    if output.json {
        output.document(&DescribedDocument::from(documented))?;
    } else {
        let (sender, heading) = if documented.is_own() {
            let sender = "Tharsis tells it, to subscriptions that ask for it by name".to_owned();
            (sender, "As it is sent")
        } else {
            let sender = format!("profile {}", documented.profile);
            (sender, "To publish, one line of a file")
        };
        output.line(format_args!(
            "{}: {} ({})\n\n{}:\n{}\n\nThe schema of its payload:\n{}",
            documented.name,
            documented.summary,
            sender,
            heading,
            excerpt(&documented.published(), usize::MAX),
            excerpt(&documented.schema().to_vec(), usize::MAX),
        ))?;
    }
    Ok(Exit::Done)
}
