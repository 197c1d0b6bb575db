//! `tharsis run`: deliver.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tharsis::{
    Emitter, EngineOptions, Registry, Remaining, Summary,
    dispatch::Progress,
    parse_duration,
    store::{SHARDS, Shards},
    subscription::State,
};

use super::{Context, documents::RemainingDocument, observe::ObserveFlags};
use crate::{
    configuration::Configuration,
    mail,
    output::{
        Exit, Failure, HERTZ, Output,
        text::{count, counted, inert},
    },
    signals,
};

/// Deliver what is in the outbox, until Ctrl-C
///
/// From an SQLite file one process delivers at a time, from a PostgreSQL database any number on any machines: they
/// share the work, and take over what one that dies has left. Others may publish meanwhile. The first SIGINT or SIGTERM
/// lets the requests in flight finish, a second one ends the process at once. Either way nothing is lost: what was not
/// settled is sent again by whoever runs next.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis run
  tharsis run --until-idle
  tharsis run --database 'postgres://tharsis@db.internal/shop' --key-file /etc/tharsis/tharsis.key
  tharsis run --egress-allow-host localhost --egress-allow-address 127.0.0.0/8 \\
      --egress-allow-port 9443 --egress-ca-file ca.pem
  tharsis run --observe 127.0.0.1:9464
  tharsis run --log info --log-format json")]
pub(crate) struct Options {
    /// End when nothing is left to do; retries are waited for, what is held or scheduled is not
    #[arg(long)]
    until_idle: bool,

    /// Requests under way at once, over all subscriptions [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_in_flight: Option<u16>,

    /// How long requests in flight may take to end after the first signal [default: 10s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    grace: Option<Duration>,

    /// How long after its last word this process counts as gone, at least 1s; of no effect on SQLite [default: 15s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    lease: Option<Duration>,

    #[command(flatten)]
    observe: ObserveFlags,
}

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let output = context.output;
    let shutdown = signals::shutdown()?;
    let mut configured = context.options();
    configured.engine.alerts = mail::alerts(&context.configuration)?;
    let emitter = context.open_with(options.over(configured)).await?;
    // What is wrong with the client is said before anything is owned.
    emitter.client()?;
    let bound = options.observe.bind(context).await?;
    let shards = own(&emitter).await?;
    announce(context, &emitter, shards, options.until_idle).await?;
    let overdue = options.observe.overdue(context);
    let observed = (bound.map(|bound| bound.answer(&emitter, overdue))).transpose()?;
    if let Some(observed) = &observed {
        observed.announce(context);
    }

    let progress = emitter.progress();
    let mut before = 0;
    let live = || {
        let delivered = progress.delivered();
        let rate = (delivered - before) * HERTZ;
        before = delivered;
        live(progress, rate)
    };
    let running = async {
        if options.until_idle {
            emitter.run_until_idle(shutdown).await
        } else {
            emitter.run(shutdown).await
        }
    };
    let summary = output.progress().during(running, live).await?;
    if let Some(observed) = observed {
        observed.end().await;
    }
    tell(output, &summary)?;
    Ok(Exit::Done)
}

/// What this process owns from now on. Where the database was there a moment ago and fails now, the engine waits for it.
pub(super) async fn own(emitter: &Emitter) -> Result<Shards, Failure> {
    match emitter.own().await {
        Ok(lease) => Ok(lease.shards),
        Err(error) if error.code() == "database_failed" => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "the first lease was asked for in vain; it will be asked for again"
            );
            Ok(Shards::default())
        }
        Err(error) => Err(error.into()),
    }
}

impl Options {
    /// The configured options with those of the command line over them.
    fn over(&self, configured: tharsis::Options) -> tharsis::Options {
        let engine = configured.engine;
        tharsis::Options {
            lease: self.lease.or(configured.lease),
            engine: EngineOptions {
                max_in_flight: self.max_in_flight.map_or(engine.max_in_flight, usize::from),
                grace: self.grace.unwrap_or(engine.grace),
                ..engine
            },
            ..configured
        }
    }
}

/// Says what this process owns from now on.
async fn announce(
    context: &Context,
    emitter: &Emitter,
    shards: Shards,
    until_idle: bool,
) -> Result<(), Failure> {
    let subscriptions = emitter.registry().list(None).await?;
    let held = subscriptions
        .iter()
        .filter(|subscription| subscription.state != State::Active)
        .count();
    let remaining = emitter.remaining().await?;
    let to_do: Vec<_> = [
        (remaining.unrouted, "event to route", "events to route"),
        (remaining.pending, "delivery", "deliveries"),
        (remaining.commands, "command", "commands"),
    ]
    .into_iter()
    .filter(|(n, ..)| *n > 0)
    .map(|(n, one, many)| counted(n, one, many))
    .collect();
    if let Some(opened) = opened(&context.configuration) {
        context.output.note(opened);
    }
    context.output.note(format_args!(
        "Owns {}{}: {}{}. {}. {}",
        if shards == Shards::ALL {
            String::new()
        } else {
            format!("{} of {SHARDS} shards of ", shards.count())
        },
        inert(&context.configuration.database.to_string()),
        counted(subscriptions.len() as u64, "subscription", "subscriptions"),
        if held > 0 {
            format!(" ({held} paused or suspended)")
        } else {
            String::new()
        },
        if to_do.is_empty() {
            "Nothing to do yet".to_owned()
        } else {
            format!("To do: {}", to_do.join(", "))
        },
        if until_idle {
            "Ends when all is done."
        } else {
            "Ctrl-C ends it."
        },
    ));
    Ok(())
}

/// What of egress is not as it comes.
pub(super) fn opened(configuration: &Configuration) -> Option<String> {
    let egress = &configuration.egress;
    let opened = (egress.allow_addresses.iter().map(ToString::to_string))
        .chain(egress.allow_hosts.iter().cloned())
        .collect::<Vec<_>>();
    match (&*opened, &configuration.proxy) {
        ([], None) => None,
        ([], Some(proxy)) => Some(format!(
            "Requests go through {proxy}, which judges addresses."
        )),
        (opened, None) => Some(format!(
            "Opened by name, beside public addresses: {}.",
            inert(&opened.join(", "))
        )),
        (opened, Some(proxy)) => Some(format!(
            "Requests go through {proxy}, which judges addresses. Opened by name: {}.",
            inert(&opened.join(", "))
        )),
    }
}

fn live(progress: &Progress, rate: u64) -> String {
    format!(
        "{} delivered   {} retried   {} ended without success   {} in flight   {}/s",
        count(progress.delivered()),
        count(progress.retried()),
        count(progress.ended()),
        count(progress.in_flight()),
        count(rate),
    )
}

/// What was done, and what remains and why.
fn tell(output: Output, summary: &Summary) -> Result<(), Failure> {
    if output.json {
        return output.document(&SummaryDocument::from(summary));
    }
    output.line(format_args!(
        "Delivered {}, retried {}, ended without success {}.",
        count(summary.delivered),
        count(summary.retried),
        count(summary.ended)
    ))?;
    let Remaining {
        unrouted,
        pending,
        held,
        scheduled,
        commands,
    } = summary.remaining;
    let remains = [
        (unrouted, "events are not routed yet"),
        (pending, "deliveries are due or wait for a retry"),
        (
            held,
            "deliveries are held: paused, suspended, or the receiver fails",
        ),
        (scheduled, "deliveries are scheduled for later"),
        (commands, "commands are not carried out yet"),
    ];
    if summary.remaining == Remaining::default() {
        return output.line("Nothing remains.");
    }
    output.line("What remains:")?;
    for (n, why) in remains.into_iter().filter(|(n, _)| *n > 0) {
        output.line(format_args!("{:>9}  {why}", count(n)))?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct SummaryDocument {
    delivered: u64,
    retried: u64,
    ended: u64,
    remaining: RemainingDocument,
}

impl From<&Summary> for SummaryDocument {
    fn from(summary: &Summary) -> Self {
        Self {
            delivered: summary.delivered,
            retried: summary.retried,
            ended: summary.ended,
            remaining: summary.remaining.into(),
        }
    }
}
