//! `tharsis doctor`: whether everything is as it should be.

mod judge;

use std::{collections::BTreeMap, path::Path, time::Duration};

use clap::Args;
use serde::Serialize;
use tharsis::{
    Emitter, Registry, Timestamp,
    dispatch::Client,
    egress::PayloadUrl,
    store::{AlertRecord, Survey},
    subscription::Subscription,
    system_now,
};
use tokio::{task::JoinSet, time::Instant};

use self::judge::{Facts, Finding, Host, Severity, judge};
use super::{Context, egress};
use crate::{
    mail,
    output::{
        Exit, Failure,
        text::{counted, inert},
    },
};

/// Look-ups of names under way at once.
const AT_ONCE: usize = 8;

/// How long one may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How long all of them may take.
const LOOK_UPS: Duration = Duration::from_secs(20);

/// Look for what is wrong: the database, workers, backlog, receivers, egress, limits
///
/// Nothing is sent, though names are looked up as for a request, and nothing is changed, but that an SQLite file is brought
/// up to date as by every command. What is found is an error (something does not work), a warning (something will not, or
/// less well than it should) or a note, each with what to do.
///
/// Exit codes: 0 nothing but notes, 1 warnings, 3 errors; 2 is wrong usage, as everywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis doctor
  tharsis doctor --json | jq '.findings[] | select(.severity != \"ok\")'
  tharsis doctor --config /etc/tharsis/tharsis.toml || mail -s 'not well' ops@shop.example")]
pub(crate) struct Options {}

pub(crate) async fn run(context: &Context, _: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let facts = (output.progress())
        .during(look(context), || "Looking".to_owned())
        .await;
    let findings = judge(&facts);
    let worst = findings.iter().map(|finding| finding.severity).max();
    let worst = worst.unwrap_or(Severity::Ok);
    if output.json {
        output.document(&Document {
            worst,
            findings: &findings,
        })?;
    } else {
        output.line(for_people(&findings).trim_end())?;
    }
    Ok(match worst {
        Severity::Ok | Severity::Note => Exit::Done,
        Severity::Warning => Exit::Failed,
        Severity::Error => Exit::Broken,
    })
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    worst: Severity,
    /// The worst first; also what is well.
    findings: &'a [Finding],
}

/// What is not well, the worst first, below a line that counts it.
fn for_people(findings: &[Finding]) -> String {
    let of = |severity| {
        let found = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    };
    let counts = [
        (of(Severity::Error), "error", "errors"),
        (of(Severity::Warning), "warning", "warnings"),
        (of(Severity::Note), "note", "notes"),
    ];
    let counts: Vec<String> = (counts.into_iter())
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, many)| counted(n, one, many))
        .collect();
    let well = counted(of(Severity::Ok), "check", "checks");
    let mut told = if counts.is_empty() {
        format!("All is well: {well}.\n")
    } else {
        format!("{}; {well} found nothing wrong.\n", counts.join(", "))
    };
    for finding in findings
        .iter()
        .filter(|finding| finding.severity > Severity::Ok)
    {
        told.push_str(&format!(
            "\n{:<9}{}\n",
            finding.severity.as_str(),
            inert(&finding.message)
        ));
        if let Some(remedy) = &finding.remedy {
            told.push_str(&format!("{:<9}{}\n", "", inert(remedy)));
        }
    }
    told
}

/// Reads all that is judged. What cannot be read is a fact, too.
async fn look(context: &Context) -> Facts {
    let configuration = &context.configuration;
    let client = context.client();
    let (emitter, opened) = match context.open().await {
        Ok(emitter) => (Some(emitter), Ok(())),
        // Much can be seen without the key.
        Err(failure) => (context.open_without_key().await.ok(), Err(failure)),
    };
    let Looked {
        now,
        survey,
        alerts,
        subscriptions,
        unread,
    } = match &emitter {
        Some(emitter) => look_into(emitter, opened.is_ok()).await,
        None => Looked::nothing(),
    };
    let (hosts, unasked) = match &client {
        Ok(client) => look_up(client, &subscriptions).await,
        Err(_) => (Vec::new(), 0),
    };
    Facts {
        now,
        version: env!("CARGO_PKG_VERSION"),
        database: configuration.database.to_string(),
        egress: configuration.egress.clone(),
        seen_from: egress::seen_from(configuration),
        is_proxied: configuration.proxy.is_some(),
        contacts: configuration.contacts.clone(),
        max_in_flight: configuration.engine.max_in_flight,
        files: files(),
        key_file: Emitter::key_file(configuration.database.expose(), &context.options()).map(
            |file| {
                let is_open = is_open(&file);
                (file, is_open)
            },
        ),
        mail: mail::smtp(configuration).map(|smtp| smtp.is_some()),
        client: client.map(drop),
        opened,
        survey,
        alerts,
        subscriptions,
        unread,
        hosts,
        unasked,
    }
}

/// What lies in the database.
struct Looked {
    now: Timestamp,
    survey: Option<Result<Survey, Failure>>,
    alerts: Vec<AlertRecord>,
    subscriptions: Vec<Subscription>,
    /// Why one of those could not be read.
    unread: Vec<Failure>,
}

impl Looked {
    fn nothing() -> Self {
        Self {
            now: system_now(),
            survey: None,
            alerts: Vec::new(),
            subscriptions: Vec::new(),
            unread: Vec::new(),
        }
    }
}

async fn look_into(emitter: &Emitter, with_key: bool) -> Looked {
    let registry = emitter.registry();
    let mut unread = Vec::new();
    let alerts = registry.alerts(None).await.unwrap_or_else(|error| {
        unread.push(error.into());
        Vec::new()
    });
    let mut subscriptions = Vec::new();
    if with_key {
        match registry.list(None).await {
            Ok(all) => subscriptions = all,
            Err(error) => unread.push(error.into()),
        }
    }
    let before = system_now();
    let survey = registry.survey().await.map_err(Failure::from);
    Looked {
        // The database said what time it is somewhere between.
        now: before + system_now().since(before) / 2,
        survey: Some(survey),
        alerts,
        subscriptions,
        unread,
    }
}

/// What would come of a request to each host, and how many of them could not be asked for in time.
async fn look_up(client: &Client, subscriptions: &[Subscription]) -> (Vec<Host>, usize) {
    let mut hosts: BTreeMap<&str, (&PayloadUrl, Vec<String>)> = BTreeMap::new();
    for subscription in subscriptions {
        let settings = &subscription.settings;
        let of_host = hosts.entry(settings.url.host());
        let (_, names) = of_host.or_insert((&settings.url, Vec::new()));
        names.push(settings.name.clone());
    }
    let until = Instant::now() + LOOK_UPS;
    let mut waiting = hosts.into_values();
    let mut asked = JoinSet::new();
    let mut looked_up = Vec::new();
    loop {
        while asked.len() < AT_ONCE
            && Instant::now() < until
            && let Some((url, names)) = waiting.next()
        {
            let (client, url) = (client.clone(), url.clone());
            let deadline = LOOK_UP.min(until - Instant::now());
            asked.spawn(async move {
                Host {
                    outcome: client.look_up(&url, deadline).await,
                    host: url.host().to_owned(),
                    names,
                }
            });
        }
        match asked.join_next().await {
            Some(host) => looked_up.extend(host.ok()),
            None => return (looked_up, waiting.count()),
        }
    }
}

/// How many files this process may have open; `None` for any number, or where that is not known.
#[cfg(unix)]
fn files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn files() -> Option<u64> {
    None
}

/// Whether others than its owner may read it.
#[cfg(unix)]
fn is_open(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |metadata: std::fs::Metadata| metadata.permissions().mode();
    std::fs::metadata(file).is_ok_and(|metadata| mode(metadata) & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}
