//! `tharsis erase`: data that somebody wants erased.

use std::sync::{Mutex, PoisonError};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use tharsis::{ClientId, Registry, erasure::Erasure, store::Erased};

use super::{Context, by};
use crate::output::{
    Exit, Failure, fields,
    text::{count, inert},
};

/// Erase what there is of a person, or of a client as a whole
///
/// Events with their payloads, deliveries, attempts and what receivers answered; of a client its subscriptions, secrets and
/// tokens too. What is not delivered is not sent any more. It goes by the recipient that an event was published with. The
/// audit keeps how much it was and, in place of a recipient, the SHA-256 of it. It cannot be undone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis erase --recipient ann@example.com
  tharsis erase --recipient user-17 --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --yes
  tharsis erase --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  printf '%s' ann@example.com | sha256sum       The subject in `tharsis audit list`")]
#[group(required = true, multiple = true)]
pub(crate) struct Options {
    /// The person, as events name it
    #[arg(long, value_name = "RECIPIENT", value_parser = NonEmptyStringValueParser::new())]
    recipient: Option<String>,
    /// Of this client alone; without a recipient all of it
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Options {
    fn whose(&self) -> Option<Erasure> {
        match (&self.recipient, self.client) {
            (Some(recipient), client) => Some(Erasure::Recipient {
                recipient: recipient.clone(),
                client,
            }),
            (None, Some(client)) => Some(Erasure::Client(client)),
            (None, None) => None,
        }
    }
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let Some(whose) = options.whose() else {
        return Err(Failure::usage("nothing_chosen", "say whose")
            .hint("for example: tharsis erase --recipient ann@example.com"));
    };
    let emitter = context.open().await?;
    if !options.yes {
        output.can_ask()?;
        if !output.ask(question(&whose))? {
            return Err(Failure::new("not_confirmed", "nothing is erased"));
        }
    }
    let so_far = Mutex::new(Erased::default());
    let tell = |erased: &Erased| {
        *so_far.lock().unwrap_or_else(PoisonError::into_inner) = *erased;
    };
    let erasing = (emitter.registry()).erase(&whose, by(), &tell);
    let erased = output
        .progress()
        .during(erasing, || {
            let so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{} events erased", count(so_far.events))
        })
        .await?;
    if output.json {
        output.document(&Document {
            subject: whose.subject(),
            events: erased.events,
            unfinished: erased.unfinished,
            attempts: erased.attempts,
            subscriptions: erased.subscriptions,
            stops: erased.stops,
        })?;
        return Ok(Exit::Done);
    }
    output.line(fields([
        ["erased".to_owned(), whose.subject()],
        ["events".to_owned(), count(erased.events)],
        ["not delivered".to_owned(), count(erased.unfinished)],
        ["attempts".to_owned(), count(erased.attempts)],
        ["subscriptions".to_owned(), count(erased.subscriptions)],
    ]))?;
    if erased.stops > 0 {
        output.note(format_args!(
            "Campaigns are stopped for this recipient: {}. They stay so, for else it would be sent to again; `tharsis campaign resume` lifts them.",
            count(erased.stops)
        ));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Document {
    subject: String,
    events: u64,
    unfinished: u64,
    attempts: u64,
    subscriptions: u64,
    stops: u64,
}

fn question(whose: &Erasure) -> String {
    match whose {
        Erasure::Recipient {
            recipient,
            client: Some(client),
        } => format!(
            "Erase what there is of {} at client {client}? It cannot be undone.",
            inert(recipient)
        ),
        Erasure::Recipient { recipient, .. } => format!(
            "Erase what there is of {} at every client? It cannot be undone.",
            inert(recipient)
        ),
        Erasure::Client(client) => {
            format!(
                "Erase client {client}, its subscriptions, secrets and tokens? It cannot be undone."
            )
        }
    }
}
