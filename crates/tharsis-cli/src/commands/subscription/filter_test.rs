use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use tharsis::{
    Event, EventId, Invalid, Registry, SubscriptionId,
    filter::{Answer, Filter},
    json,
    store::DeliveryFilter,
    subscription::Settings,
};

use crate::{
    commands::{Context, search},
    output::{Exit, Failure, Table, text::counted},
};

/// Past events of one look, at most.
const MOST: u32 = 1_000;

/// Show what a filter does to events, given or past
///
/// Nothing is sent and nothing is changed. A field that an event does not have makes it unwanted, and the reason says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription filter-test --filter 'event.channel == \"push\"' events.ndjson
  tharsis subscription filter-test --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --last 20
  tharsis event-type show nudge --json | jq -c .example |
      tharsis subscription filter-test --filter 'event.content.title != \"\"' -")]
pub(crate) struct Options {
    /// The subscription whose filter is tried, and whose past events --last looks at; or --filter alone
    #[arg(long, value_name = "SUBSCRIPTION", required_unless_present = "filter")]
    subscription: Option<SubscriptionId>,

    /// The expression to try, in place of the subscription's own
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// Events as `publish` takes them, one a line; - for standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["event", "last"])]
    file: Option<PathBuf>,

    /// A past event; may be given several times
    #[arg(long = "event", value_name = "EVENT", id = "event")]
    events: Vec<EventId>,

    /// The last events of its client, of the types that the subscription wants, that went to anybody
    #[arg(long, value_name = "N", id = "last", requires = "subscription", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    last: Option<u32>,
}

/// An event that is looked at.
struct Looked {
    /// The line of the file, or the event's id.
    name: String,
    event_type: String,
    payload: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Line {
    event: String,
    r#type: String,
    wanted: bool,
    /// Why it is not.
    reason: Option<String>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let mut looked = Vec::new();
    if let Some(file) = &options.file {
        given(file, &mut looked)?;
    }
    let needs_outbox =
        options.subscription.is_some() || !options.events.is_empty() || options.last.is_some();
    let mut settings = None;
    if needs_outbox {
        let emitter = context.open().await?;
        let registry = emitter.registry();
        if let Some(id) = options.subscription {
            settings = Some(registry.find(id).await?.settings);
        }
        let mut ids = options.events.clone();
        if let (Some(last), Some(settings)) = (options.last, &settings) {
            ids.extend(past(registry, settings, last).await?);
        }
        for id in ids {
            let event = registry.event(id).await?;
            looked.push(Looked {
                name: id.to_string(),
                event_type: event.event_type,
                payload: event.payload.to_vec(),
            });
        }
    }
    let filter = filter(options, settings.as_ref())?;
    let lines: Vec<Line> = (looked.into_iter())
        .map(|event| judge(event, &filter, settings.as_ref()))
        .collect();
    let wanted = lines.iter().filter(|line| line.wanted).count();
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            filter: &'a str,
            wanted: usize,
            events: Vec<Line>,
        }
        output.document(&Document {
            filter: filter.text(),
            wanted,
            events: lines,
        })?;
        return Ok(Exit::Done);
    }
    let of = lines.len();
    let mut table = Table::new(&["event", "type", "wanted", "reason"]);
    for line in lines {
        let wanted = if line.wanted { "yes" } else { "no" };
        let reason = line.reason.unwrap_or_default();
        table.row([line.event, line.r#type, wanted.to_owned(), reason]);
    }
    output.table(&table)?;
    output.note(format_args!(
        "{wanted} of {} wanted.",
        counted(u64::try_from(of).unwrap_or(u64::MAX), "event", "events")
    ));
    Ok(Exit::Done)
}

/// The last events that went to anybody and are of types that this subscription wants.
async fn past(
    registry: &impl Registry,
    settings: &Settings,
    last: u32,
) -> Result<Vec<EventId>, Failure> {
    let mut filter = DeliveryFilter::default();
    filter.client = Some(settings.client);
    let wanted = settings.events.iter().map(ToString::to_string);
    filter.event_type = match settings.events.is_empty() {
        true => settings
            .profile
            .events
            .iter()
            .map(ToString::to_string)
            .collect(),
        false => wanted.collect(),
    };
    let page = search::deliveries(registry, &filter, None, MOST).await?;
    let mut ids: Vec<EventId> = page.items.iter().map(|row| row.id.event).collect();
    // An event that went to several is there once for each, side by side.
    ids.dedup();
    ids.truncate(usize::try_from(last).unwrap_or(usize::MAX));
    Ok(ids)
}

fn filter(options: &Options, settings: Option<&Settings>) -> Result<Filter, Failure> {
    if let Some(text) = &options.filter {
        return Filter::parse(text).map_err(|e| Failure::from(e).into_usage());
    }
    let own = settings.and_then(|settings| settings.filter.clone());
    own.ok_or_else(|| {
        Failure::usage("no_filter", "the subscription has no filter")
            .hint("give the one to try with --filter")
    })
}

fn judge(event: Looked, filter: &Filter, settings: Option<&Settings>) -> Line {
    let wants_type = settings.is_none_or(|settings| settings.wants_type(&event.event_type));
    let reason = if !wants_type {
        Some("the subscription does not want events of this type".to_owned())
    } else {
        match json::parse(&event.payload) {
            Err(error) => Some(error.to_string()),
            Ok(payload) => match filter.wants(&payload) {
                Answer::Yes => None,
                Answer::No => Some("the filter is false of it".to_owned()),
                Answer::CannotTell(why) => Some(why.to_string()),
            },
        }
    };
    Line {
        event: event.name,
        r#type: event.event_type,
        wanted: reason.is_none(),
        reason,
    }
}

/// The events of a file.
fn given(path: &Path, looked: &mut Vec<Looked>) -> Result<(), Failure> {
    let shown = path.display();
    let source: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|error| {
            Failure::new("file_unreadable", format!("cannot be read: {error}"))
                .at(shown.to_string())
        })?))
    };
    for (number, line) in (1..).zip(source.split(b'\n')) {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event = Event::parse(&line).map_err(|e: Invalid| e.at(format!("line {number}")))?;
        looked.push(Looked {
            name: format!("line {number}"),
            event_type: event.event_type().to_string(),
            payload: event.payload().to_vec(),
        });
    }
    Ok(())
}
