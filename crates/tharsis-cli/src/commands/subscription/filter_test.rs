use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use tharsis::{Event, EventId, Invalid, Registry, SubscriptionId};
use tharsis_admin::trying::{self, Looked, MOST, PATIENCE, past};

use crate::{
    commands::{Context, documents::FilterTestDocument},
    output::{Exit, Failure, Table, text::counted},
};

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
            ids.extend(past(registry, settings, last, PATIENCE).await?);
        }
        for id in ids {
            looked.push(Looked::from(registry.event(id).await?));
        }
    }
    let filter = trying::filter(options.filter.as_deref(), settings.as_ref());
    let filter = filter.map_err(|refused| {
        let is_missing = refused.code == "no_filter";
        let failure = Failure::from(refused).into_usage();
        match is_missing {
            true => failure.hint("give the one to try with --filter"),
            false => failure,
        }
    })?;
    let lines: Vec<_> = (looked.into_iter())
        .map(|event| event.judge(&filter, settings.as_ref()))
        .collect();
    if output.json {
        output.document(&FilterTestDocument::of(&filter, lines))?;
        return Ok(Exit::Done);
    }
    let wanted = lines.iter().filter(|line| line.wanted).count();
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
        looked.push(Looked::given(format!("line {number}"), &event));
    }
    Ok(())
}
