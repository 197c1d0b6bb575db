//! `tharsis campaign`: how a campaign does, and stopping it.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use tharsis::{
    ClientId, Emitter, Registry, Timestamp,
    store::{Campaign, CampaignReport},
    system_now,
};
use tharsis_admin::only_client;

use super::{
    Context, by,
    documents::{CampaignChangedDocument, CampaignReportDocument, delivered_per_second},
};
use crate::output::{
    Exit, Failure, Output, Table, fields,
    text::{count, counted, inert, measured, moment},
};

/// Look at a campaign, and stop it or let it go
///
/// At once over all workers, for what is queued and for what comes. A campaign is a client's: two clients may have one of
/// the same name each.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis campaign show spring
  tharsis campaign pause spring
  tharsis campaign cancel spring --recipient ann@example.com")]
pub(crate) enum Command {
    Show(Show),
    Pause(Pause),
    Resume(Resume),
    Cancel(Cancel),
}

/// Tell how a campaign does
///
/// What became of its deliveries, how many are taken per second, and which subscriptions answer slowly. It goes through
/// all events, which takes a moment where there are millions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis campaign show spring
  tharsis campaign show spring --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --json")]
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
}

/// Hold what there is of a campaign, and what comes
///
/// Nothing is lost: it goes on when the campaign is resumed, unless its event has expired by then. A request that is
/// under way comes to its end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis campaign pause spring
  tharsis campaign pause spring --recipient ann@example.com")]
pub(crate) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Let a campaign go again
///
/// What was held goes on. Of one that was cancelled, what comes from now on is sent; what was cancelled stays so, and is
/// brought back by `tharsis replay --status cancelled --campaign NAME`. A recipient who was stopped is resumed with
/// --recipient alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis campaign resume spring
  tharsis campaign resume spring --recipient ann@example.com")]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,
}

/// End what there is of a campaign as cancelled, and what comes
///
/// Whether it is held or not. A request that is under way comes to its end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis campaign cancel spring
  tharsis campaign cancel spring --recipient ann@example.com")]
pub(crate) struct Cancel {
    #[command(flatten)]
    which: Which,
}

/// The campaign that a command is about.
#[derive(Debug, Args)]
struct Which {
    /// Its name, as events bear it
    #[arg(value_name = "CAMPAIGN", value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// Whose it is; may be left out where one client alone has a campaign of this name
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,

    /// One recipient of it alone
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    recipient: Option<String>,
}

impl Which {
    /// The campaign, whose client is looked for where none was given.
    async fn campaign(&self, emitter: &Emitter) -> Result<Campaign, Failure> {
        let client = match self.client {
            Some(client) => client,
            None => {
                let clients = emitter.registry().campaign_clients(&self.name).await?;
                only_client(&self.name, &clients, "--client")?
            }
        };
        Ok(Campaign {
            client,
            name: self.name.clone(),
            recipient: self.recipient.clone(),
        })
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let output = context.output;
    if let Command::Show(Show { which }) = command {
        let emitter = context.open().await?;
        let campaign = which.campaign(&emitter).await?;
        let report = emitter.registry().campaign(&campaign).await?;
        return show(output, &campaign, &report);
    }
    let emitter = context.open_without_key().await?;
    let (registry, now) = (emitter.registry(), system_now());
    let (campaign, stop, what) = match command {
        Command::Pause(Pause { which }) => {
            let campaign = which.campaign(&emitter).await?;
            let stop = registry.pause_campaign(&campaign, by()).await?;
            (campaign, Some(stop), "is paused")
        }
        Command::Cancel(Cancel { which }) => {
            let campaign = which.campaign(&emitter).await?;
            let stop = registry.cancel_campaign(&campaign, by()).await?;
            (campaign, Some(stop), "is cancelled")
        }
        Command::Resume(Resume { which }) | Command::Show(Show { which }) => {
            let campaign = which.campaign(&emitter).await?;
            registry.resume_campaign(&campaign, by()).await?;
            (campaign, None, "goes on")
        }
    };
    let owned = registry.owned().await?;
    if output.json {
        output.document(&CampaignChangedDocument::of(
            &campaign,
            stop.as_ref(),
            owned,
        ))?;
        return Ok(Exit::Done);
    }
    let name = named(&campaign);
    let since = stop.map_or_else(String::new, |stop| {
        format!(", since {}", moment(stop.since, now))
    });
    output.line(format_args!("{name} {what}{since}."))?;
    if !owned {
        output.note(
            "Nothing delivers at present. What is queued follows as soon as `tharsis run` does.",
        );
    }
    Ok(Exit::Done)
}

/// The campaign in a sentence.
fn named(campaign: &Campaign) -> String {
    let name = inert(&campaign.name);
    match &campaign.recipient {
        Some(recipient) => format!("Campaign {name} for {}", inert(recipient)),
        None => format!("Campaign {name}"),
    }
}

fn show(output: Output, campaign: &Campaign, report: &CampaignReport) -> Result<Exit, Failure> {
    if output.json {
        output.document(&CampaignReportDocument::of(campaign, report))?;
        return Ok(Exit::Done);
    }
    let now = system_now();
    output.line(for_people(campaign, report, now).trim_end())?;
    if !report.slowest.is_empty() {
        let mut table = Table::new(&["slowest subscription", "name", ">requests", ">mean", ">p95"]);
        for slow in &report.slowest {
            table.row([
                slow.subscription.to_string(),
                slow.name.clone(),
                count(slow.attempts),
                measured(slow.mean),
                measured(slow.p95),
            ]);
        }
        output.line("")?;
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

/// A report as people read it, but for the slowest subscriptions.
fn for_people(campaign: &Campaign, report: &CampaignReport, now: Timestamp) -> String {
    let state = match &report.stop {
        Some(stop) => format!("{} since {}", stop.state.as_str(), moment(stop.since, now)),
        None => "running".to_owned(),
    };
    let mut rows = vec![
        ["campaign", &campaign.name],
        ["client", &campaign.client.to_string()],
    ]
    .into_iter()
    .map(|row| row.map(str::to_owned))
    .collect::<Vec<_>>();
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if let Some(recipient) = &campaign.recipient {
        row("recipient", recipient.clone());
    }
    row("state", state);
    row("published", counted(report.published, "event", "events"));
    row("delivered", count(report.delivered));
    row("pending", count(report.pending));
    row("held", count(report.held));
    row("expired", count(report.expired));
    row("cancelled", count(report.cancelled));
    row("refused", count(report.refused));
    let dead: Vec<String> = (report.dead.iter())
        .map(|(code, n)| format!("{} {code}", count(*n)))
        .collect();
    let all: u64 = report.dead.values().sum();
    row(
        "dead",
        match &*dead {
            [] => "0".to_owned(),
            reasons => format!("{}: {}", count(all), reasons.join(", ")),
        },
    );
    row(
        "rate",
        format!(
            "{} in the last minute, {:.1}/s",
            count(report.delivered_last_minute),
            delivered_per_second(report)
        ),
    );
    for stop in &report.recipients {
        let recipient = stop.campaign.recipient.as_deref().unwrap_or_default();
        row(
            stop.state.as_str(),
            format!("{} since {}", inert(recipient), moment(stop.since, now)),
        );
    }
    let rows = rows
        .into_iter()
        .map(|[name, value]| [name, inert(&value).into_owned()]);
    fields(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tharsis::store::{Stop, StopState};

    use super::*;

    #[test]
    fn a_report_is_told_and_nothing_in_it_steers_the_terminal() {
        let now = 1_700_000_000_000;
        let campaign = Campaign {
            client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap(),
            name: "spring \u{1b}[31msale".to_owned(),
            recipient: None,
        };
        let stop = |recipient: Option<&str>| Stop {
            seq: 1,
            campaign: Campaign {
                recipient: recipient.map(str::to_owned),
                ..campaign.clone()
            },
            state: StopState::Paused,
            since: Timestamp::from_millis(now - 60_000),
        };
        let report = CampaignReport {
            published: 100_000,
            delivered: 90_000,
            held: 9_000,
            cancelled: 1,
            dead: BTreeMap::from([("http_404".to_owned(), 990), ("http_500".to_owned(), 9)]),
            delivered_last_minute: 90,
            stop: Some(stop(None)),
            recipients: vec![stop(Some("ann"))],
            ..CampaignReport::default()
        };
        let told = for_people(&campaign, &report, Timestamp::from_millis(now));
        insta::assert_snapshot!(told, @r"
    campaign   spring \u{1b}[31msale
    client     36011017-0e00-4e29-a054-7a1fbb8b60a2
    state      paused since 2023-11-14T22:12:20Z (1m ago)
    published  100,000 events
    delivered  90,000
    pending    0
    held       9,000
    expired    0
    cancelled  1
    refused    0
    dead       999: 990 http_404, 9 http_500
    rate       90 in the last minute, 1.5/s
    paused     ann since 2023-11-14T22:12:20Z (1m ago)
    ");
    }
}
