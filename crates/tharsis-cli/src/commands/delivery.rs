//! `tharsis delivery`: what became of an event for a subscription.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{
    DeliveryId, Registry, Timestamp,
    store::{AttemptRecord, CommandAccepted, DeliveryDetail, DeliveryRow, Page},
    system_now,
};

use super::{
    Context, by,
    documents::{AttemptDocument, DeliveryDocument},
    filter::Filter,
    search,
};
use crate::output::{
    Exit, Failure, Output, Table, fields,
    text::{excerpt, measured, moment, moment_or_dash},
};

/// The most that one list tells: all of it is in memory before it is told.
const MOST: i64 = 10_000;

/// Look at deliveries, and step in
///
/// A delivery is one event for one subscription, named EVENT/SUBSCRIPTION.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis delivery list --status dead --since 1h
  tharsis delivery show 019b2f6e-…/019b2f70-…")]
pub(crate) enum Command {
    List(List),
    Show(Show),
    Retry(Retry),
    Cancel(Cancel),
}

/// List deliveries, newest event first
///
/// Where few match it looks back for some seconds, and says how far it came and how to go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis delivery list
  tharsis delivery list --status dead --since 1h
  tharsis delivery list --status retrying --status held --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis delivery list --status dead --limit 1000 --json")]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,

    /// At most so many, up to 10000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    limit: u32,

    /// Go on after this point of a list, which the list before it gave
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

/// Show one delivery with its attempts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis delivery show 019b2f6e-…/019b2f70-…
  tharsis delivery show 019b2f6e-…/019b2f70-… --json")]
pub(crate) struct Show {
    /// Its name, EVENT/SUBSCRIPTION
    #[arg(value_name = "DELIVERY")]
    id: DeliveryId,
}

/// Make an unfinished delivery due now
///
/// For one that waits for its next attempt. A delivery that has ended is sent again with `tharsis replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis delivery retry 019b2f6e-…/019b2f70-…")]
pub(crate) struct Retry {
    /// Its name, EVENT/SUBSCRIPTION
    #[arg(value_name = "DELIVERY")]
    id: DeliveryId,
}

/// End an unfinished delivery as cancelled
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis delivery cancel 019b2f6e-…/019b2f70-…")]
pub(crate) struct Cancel {
    /// Its name, EVENT/SUBSCRIPTION
    #[arg(value_name = "DELIVERY")]
    id: DeliveryId,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List(options) => list(context, options).await,
        Command::Show(options) => show(context, &options).await,
        Command::Retry(Retry { id }) => {
            let accepted = context
                .open_without_key()
                .await?
                .registry()
                .retry(id, by())
                .await?;
            accept(context.output, id, accepted, "is made due now")
        }
        Command::Cancel(Cancel { id }) => {
            let accepted = context
                .open_without_key()
                .await?
                .registry()
                .cancel(id, by())
                .await?;
            accept(context.output, id, accepted, "ends cancelled")
        }
    }
}

async fn list(context: &Context, options: List) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open().await?;
    let filter = options.filter.at(now);
    let Page {
        items: rows,
        next,
        searched_until,
    } = search::deliveries(emitter.registry(), &filter, options.after, options.limit).await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            deliveries: Vec<DeliveryDocument<'a>>,
            /// Give it to `--after`.
            next: Option<String>,
            /// Where it stopped searching before it had so many.
            searched_until: Option<String>,
        }
        output.document(&Document {
            deliveries: rows.iter().map(DeliveryDocument::from).collect(),
            next,
            searched_until: searched_until.map(|at| at.to_string()),
        })?;
        return Ok(Exit::Done);
    }
    if !rows.is_empty() {
        output.table(&table(&rows, now))?;
    }
    if let Some(note) = footer(rows.is_empty(), next.as_deref(), searched_until, now) {
        output.note(note);
    }
    Ok(Exit::Done)
}

/// What there may be beyond what is shown.
fn footer(
    is_empty: bool,
    next: Option<&str>,
    searched_until: Option<Timestamp>,
    now: Timestamp,
) -> Option<String> {
    match (next, searched_until) {
        (Some(next), Some(until)) => {
            let found = if is_empty {
                "No delivery matches so far"
            } else {
                "There may be more"
            };
            Some(format!(
                "{found}: searched back to {}. Add --after {next} to go on.",
                moment(until, now)
            ))
        }
        (Some(next), None) => Some(format!(
            "There are more: add --after {next}, or a greater --limit."
        )),
        (None, _) if is_empty => Some("No delivery matches.".to_owned()),
        (None, _) => None,
    }
}

/// Deliveries as a table.
pub(crate) fn table(rows: &[DeliveryRow], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "delivery",
        "status",
        ">attempts",
        "reason",
        "type",
        "subscription",
        "published",
        "next attempt",
    ]);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.status.as_str().to_owned(),
            row.attempts.to_string(),
            row.code.clone().unwrap_or_else(|| "-".to_owned()),
            row.event_type.clone(),
            row.subscription_name.clone(),
            moment(row.published_at, now),
            moment_or_dash(row.due_at, now),
        ]);
    }
    table
}

async fn show(context: &Context, options: &Show) -> Result<Exit, Failure> {
    let output = context.output;
    let detail = context
        .open()
        .await?
        .registry()
        .delivery(options.id)
        .await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            delivery: DeliveryDocument<'a>,
            history: Vec<AttemptDocument<'a>>,
        }
        output.document(&Document {
            delivery: (&detail.row).into(),
            history: detail.attempts.iter().map(AttemptDocument::from).collect(),
        })?;
    } else {
        output.line(for_people(&detail, system_now()).trim_end())?;
    }
    Ok(Exit::Done)
}

fn for_people(detail: &DeliveryDetail, now: Timestamp) -> String {
    let DeliveryDetail { row, attempts } = detail;
    let mut pairs = vec![
        ["delivery".to_owned(), row.id.to_string()],
        ["status".to_owned(), row.status.as_str().to_owned()],
        ["type".to_owned(), row.event_type.clone()],
        ["subscription".to_owned(), row.subscription_name.clone()],
        ["client".to_owned(), row.client.to_string()],
    ];
    pairs.extend(
        row.campaign
            .iter()
            .map(|campaign| ["campaign".to_owned(), campaign.clone()]),
    );
    pairs.push(["published".to_owned(), moment(row.published_at, now)]);
    pairs.extend(
        row.due_at
            .map(|at| ["next attempt".to_owned(), moment(at, now)]),
    );
    let mut told = fields(pairs);
    if attempts.is_empty() {
        told.push_str("\nNo attempt yet.\n");
    }
    for record in attempts {
        told.push('\n');
        told.push_str(&attempt(record, now));
    }
    told
}

/// One attempt: a line that says what came of it, and what was answered below.
fn attempt(record: &AttemptRecord, now: Timestamp) -> String {
    let attempt = &record.attempt;
    let mut told = if attempt.number == 0 {
        format!(
            "Without a request   {}   {}\n",
            moment(attempt.at, now),
            attempt.code
        )
    } else {
        format!(
            "Attempt {}   {}   {}   {}\n",
            attempt.number,
            moment(attempt.at, now),
            measured(attempt.duration),
            attempt.code
        )
    };
    let mut pairs = Vec::new();
    pairs.extend(
        attempt
            .status
            .map(|status| ["answer".to_owned(), status.to_string()]),
    );
    if !attempt.excerpt.is_empty() {
        pairs.push(["body".to_owned(), excerpt(&attempt.excerpt, 400)]);
    }
    pairs.extend(
        attempt
            .detail
            .iter()
            .map(|detail| ["detail".to_owned(), detail.clone()]),
    );
    if matches!(attempt.status, Some(401 | 403)) {
        pairs.push(["hint".to_owned(), "the receiver may hold another secret: compare its fingerprint in `tharsis subscription show`".to_owned()]);
    }
    match (record.end, record.due_at) {
        (Some(end), _) => pairs.push(["ended".to_owned(), end.as_str().to_owned()]),
        (None, Some(due)) => pairs.push(["again".to_owned(), moment(due, now)]),
        (None, None) => {}
    }
    for line in fields(pairs).lines() {
        told.push_str(&format!("  {line}\n"));
    }
    told
}

/// Tells that the owner was asked for something.
fn accept(
    output: Output,
    id: DeliveryId,
    accepted: CommandAccepted,
    what: &str,
) -> Result<Exit, Failure> {
    if output.json {
        #[derive(Serialize)]
        struct Document {
            delivery: String,
            /// Whether a process delivers now; else the next `tharsis run` carries it out.
            owned: bool,
        }
        output.document(&Document {
            delivery: id.to_string(),
            owned: accepted.owned,
        })?;
    } else if accepted.owned {
        output.line(format_args!("{id} {what}."))?;
    } else {
        output.line(format_args!("{id} {what} as soon as something delivers: nothing does at present. Start `tharsis run`."))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tharsis::{
        delivery::End,
        store::{Attempt, Status},
    };

    use super::*;

    fn attempt(number: u32, at: i64, code: &str, status: Option<u16>, excerpt: &[u8]) -> Attempt {
        Attempt {
            number,
            at: Timestamp::from_millis(at),
            duration: Duration::from_micros(12_340),
            code: code.to_owned(),
            status,
            excerpt: excerpt.to_vec(),
            detail: None,
        }
    }

    #[test]
    fn a_list_says_what_there_may_be_beyond_it() {
        let (now, until) = (1_700_000_000_000, 1_699_900_000_000);
        let told = |is_empty, next, until: Option<i64>| {
            let until = until.map(Timestamp::from_millis);
            footer(is_empty, next, until, Timestamp::from_millis(now)).unwrap_or_default()
        };
        insta::assert_snapshot!(told(false, None, None), @"");
        insta::assert_snapshot!(told(true, None, None), @"No delivery matches.");
        insta::assert_snapshot!(told(false, Some("7f"), None), @"There are more: add --after 7f, or a greater --limit.");
        insta::assert_snapshot!(told(false, Some("7f"), Some(until)), @"There may be more: searched back to 2023-11-13T18:26:40Z (27h ago). Add --after 7f to go on.");
        insta::assert_snapshot!(told(true, Some("7f"), Some(until)), @"No delivery matches so far: searched back to 2023-11-13T18:26:40Z (27h ago). Add --after 7f to go on.");
    }

    #[test]
    fn a_delivery_is_told_with_its_attempts_and_nothing_remote_steers_the_terminal() {
        let now = 1_700_000_000_000;
        let name = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";
        let detail = DeliveryDetail {
            row: DeliveryRow {
                id: name.parse().unwrap(),
                event_type: "nudge".to_owned(),
                client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap(),
                campaign: Some("spring \u{1b}[31msale".to_owned()),
                subscription_name: "Shop".to_owned(),
                status: Status::Ended(End::Expired),
                attempts: 2,
                code: Some("expired".to_owned()),
                published_at: Timestamp::from_millis(now - 7_200_000),
                last_at: Some(Timestamp::from_millis(now - 60_000)),
                due_at: None,
            },
            attempts: vec![
                AttemptRecord {
                    attempt: attempt(
                        1,
                        now - 7_199_000,
                        "http_403",
                        Some(403),
                        b"\x1b]0;owned\x07 bad \xff signature\n",
                    ),
                    end: None,
                    due_at: Some(Timestamp::from_millis(now - 7_194_000)),
                },
                AttemptRecord {
                    attempt: Attempt {
                        detail: Some("no address of the name answered".to_owned()),
                        ..attempt(2, now - 7_194_000, "connect_refused", None, b"")
                    },
                    end: None,
                    due_at: Some(Timestamp::from_millis(now - 60_000)),
                },
                AttemptRecord {
                    attempt: attempt(0, now - 60_000, "expired", None, b""),
                    end: Some(End::Expired),
                    due_at: None,
                },
            ],
        };
        insta::assert_snapshot!(for_people(&detail, Timestamp::from_millis(now)), @r"
    delivery      019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    status        expired
    type          nudge
    subscription  Shop
    client        36011017-0e00-4e29-a054-7a1fbb8b60a2
    campaign      spring \u{1b}[31msale
    published     2023-11-14T20:13:20Z (2h ago)

    Attempt 1   2023-11-14T20:13:21Z (1h ago)   12.3 ms   http_403
      answer  403
      body    \u{1b}]0;owned\u{7} bad \xff signature\n
      hint    the receiver may hold another secret: compare its fingerprint in `tharsis subscription show`
      again   2023-11-14T20:13:26Z (1h ago)

    Attempt 2   2023-11-14T20:13:26Z (1h ago)   12.3 ms   connect_refused
      detail  no address of the name answered
      again   2023-11-14T22:12:20Z (1m ago)

    Without a request   2023-11-14T22:12:20Z (1m ago)   expired
      ended  expired
    ");
    }
}
