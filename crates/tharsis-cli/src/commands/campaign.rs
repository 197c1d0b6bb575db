//! `tharsis campaign`: how a campaign does, and stopping it.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde::Serialize;
use tharsis::{
    ClientId, Emitter, Registry, Timestamp,
    store::{Campaign, CampaignReport, Slow, Stop},
    system_now,
};

use super::{Context, by, documents::millis};
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
            None => self.only_client(emitter).await?,
        };
        Ok(Campaign {
            client,
            name: self.name.clone(),
            recipient: self.recipient.clone(),
        })
    }

    async fn only_client(&self, emitter: &Emitter) -> Result<ClientId, Failure> {
        let clients = emitter.registry().campaign_clients(&self.name).await?;
        match &*clients {
            [client] => Ok(*client),
            [] => Err(Failure::new(
                "campaign_unknown",
                format!("no event of a campaign {} was published", inert(&self.name)),
            )
            .hint("check the name, or say whose it is with --client if it is still to come")),
            several => {
                let clients: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(Failure::new(
                    "campaign_ambiguous",
                    format!(
                        "{} clients have a campaign {}: {}",
                        several.len(),
                        inert(&self.name),
                        clients.join(", ")
                    ),
                )
                .at("--client")
                .hint("say whose it is with --client"))
            }
        }
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
        output.document(&Document {
            campaign: CampaignDocument::of(&campaign, stop.as_ref()),
            owned,
        })?;
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
        output.document(&ReportDocument::of(campaign, report))?;
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
            per_second(report)
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

#[expect(
    clippy::cast_precision_loss,
    reason = "deliveries of one minute are few enough"
)]
fn per_second(report: &CampaignReport) -> f64 {
    report.delivered_last_minute as f64 / 60.0
}

#[derive(Debug, Serialize)]
struct CampaignDocument<'a> {
    client: String,
    campaign: &'a str,
    /// Null: all of it.
    recipient: Option<&'a str>,
    state: &'static str,
    /// Null: it runs.
    since: Option<String>,
}

impl<'a> CampaignDocument<'a> {
    fn of(campaign: &'a Campaign, stop: Option<&Stop>) -> Self {
        Self {
            client: campaign.client.to_string(),
            campaign: &campaign.name,
            recipient: campaign.recipient.as_deref(),
            state: stop.map_or("running", |stop| stop.state.as_str()),
            since: stop.map(|stop| stop.since.to_string()),
        }
    }
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    campaign: CampaignDocument<'a>,
    /// Whether a process delivers now; else the next `tharsis run` carries it out.
    owned: bool,
}

#[derive(Debug, Serialize)]
struct ReportDocument<'a> {
    #[serde(flatten)]
    campaign: CampaignDocument<'a>,
    /// Events; all that follow are deliveries.
    published: u64,
    delivered: u64,
    pending: u64,
    held: u64,
    expired: u64,
    cancelled: u64,
    refused: u64,
    /// By the code of the last outcome.
    dead: &'a BTreeMap<String, u64>,
    delivered_last_minute: u64,
    delivered_per_second: f64,
    /// By what 95 of 100 requests took, in the last hour.
    slowest: Vec<SlowDocument<'a>>,
    /// Those that are stopped by themselves.
    recipients: Vec<CampaignDocument<'a>>,
}

impl<'a> ReportDocument<'a> {
    fn of(campaign: &'a Campaign, report: &'a CampaignReport) -> Self {
        Self {
            campaign: CampaignDocument::of(campaign, report.stop.as_ref()),
            published: report.published,
            delivered: report.delivered,
            pending: report.pending,
            held: report.held,
            expired: report.expired,
            cancelled: report.cancelled,
            refused: report.refused,
            dead: &report.dead,
            delivered_last_minute: report.delivered_last_minute,
            delivered_per_second: per_second(report),
            slowest: report.slowest.iter().map(SlowDocument::from).collect(),
            recipients: (report.recipients.iter())
                .map(|stop| CampaignDocument::of(&stop.campaign, Some(stop)))
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct SlowDocument<'a> {
    subscription: String,
    name: &'a str,
    requests: u64,
    mean_ms: u64,
    p95_ms: u64,
}

impl<'a> From<&'a Slow> for SlowDocument<'a> {
    fn from(slow: &'a Slow) -> Self {
        Self {
            subscription: slow.subscription.to_string(),
            name: &slow.name,
            requests: slow.attempts,
            mean_ms: millis(slow.mean),
            p95_ms: millis(slow.p95),
        }
    }
}

#[cfg(test)]
mod tests {
    use tharsis::store::StopState;

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
