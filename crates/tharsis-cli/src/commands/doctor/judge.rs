//! What is wrong, decided from what was read: pure. Each check finds something, or says that it found nothing.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::Serialize;
use tharsis::{
    Timestamp,
    alert::Contacts,
    delivery::{Fault, Outcome, codes},
    egress::{PayloadUrl, Policy},
    health::Condition,
    store::{
        AlertRecord, Engine, MOST_COUNTED, PostgresEngine, SHARDS, SqliteEngine, Survey,
        WorkerRecord,
    },
    subscription::{State, Subscription, Unreadable},
};

use crate::output::{
    Failure,
    text::{age, count, counted, in_shell},
};

/// All that is judged.
#[derive(Debug)]
pub(super) struct Facts {
    /// This process' clock, when the database said what time it is.
    pub(super) now: Timestamp,
    /// This program's.
    pub(super) version: &'static str,
    /// Its URL, without a password.
    pub(super) database: String,
    pub(super) egress: Policy,
    /// What receivers are to let in, where it is known.
    pub(super) seen_from: Option<String>,
    /// Whether a proxy looks hosts up, and judges where they lead.
    pub(super) is_proxied: bool,
    pub(super) contacts: Contacts,
    pub(super) max_in_flight: usize,
    /// How many files this process may have open, if there is a limit.
    pub(super) files: Option<u64>,
    /// The key file, and whether others may read it; none where the keys are given.
    pub(super) key_file: Option<(PathBuf, bool)>,
    /// Whether a mail server is named.
    pub(super) mail: Result<bool, Failure>,
    /// Whether the HTTP client can be made: trusted roots, the resolver.
    pub(super) client: Result<(), Failure>,
    /// Whether the database opens, with its key.
    pub(super) opened: Result<(), Failure>,
    /// None where it does not open without its key either.
    pub(super) survey: Option<Result<Survey, Failure>>,
    pub(super) alerts: Vec<AlertRecord>,
    /// None where the key is missing.
    pub(super) subscriptions: Vec<Subscription>,
    /// Why the alerts or the subscriptions could not be read.
    pub(super) unread: Vec<Failure>,
    pub(super) hosts: Vec<Host>,
    /// Hosts that could not be looked up in time.
    pub(super) unasked: usize,
}

/// A host, and the subscriptions that are there.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) host: String,
    pub(super) names: Vec<String>,
    /// What a request would come to, where it would come no further than its name.
    pub(super) outcome: Option<Outcome>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// A check found nothing.
    Ok,
    /// Worth knowing.
    Note,
    /// Something will not work, or works less well than it should.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a check found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Stable.
    pub(super) code: String,
    pub(super) severity: Severity,
    /// One sentence.
    pub(super) message: String,
    /// A command or a setting.
    pub(super) remedy: Option<String>,
}

impl Finding {
    fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            message: message.into(),
            remedy: None,
        }
    }

    fn ok(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Ok, code, message)
    }

    fn note(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// What something else failed with.
    fn of(failure: &Failure) -> Self {
        let fault = failure.fault();
        // A field begins as it is written.
        let sentence = match fault.field {
            Some(_) => fault.sentence(),
            None => begun(&fault.sentence()),
        };
        Self {
            remedy: fault.hint.clone(),
            ..Self::error(&fault.code, format!("{sentence}."))
        }
    }
}

/// With its first letter as a sentence has it.
fn begun(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Judges all of it, the worst first.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(opens(facts));
    findings.push(key_file(facts));
    match &facts.survey {
        Some(Ok(survey)) => {
            findings.extend(engine(survey));
            findings.push(clock(facts, survey));
            findings.extend(workers(facts, survey));
            findings.extend(backlog(survey));
        }
        Some(Err(failure)) => findings.push(Finding::of(failure)),
        None => {}
    }
    // Of what could not be read nobody says that it is well.
    findings.extend(facts.unread.iter().map(Finding::of));
    let is_read = facts.unread.is_empty();
    if is_read && facts.opened.is_ok() {
        findings.extend(subscriptions(facts));
        findings.push(urls(facts));
        findings.extend(hosts(facts));
    }
    findings.push(ranges(&facts.egress));
    findings.push(seen_from(facts));
    findings.push(client(facts));
    findings.push(files(facts));
    findings.extend(mail(facts));
    if is_read {
        findings.extend(alerts(facts));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn opens(facts: &Facts) -> Finding {
    match &facts.opened {
        Ok(()) => Finding::ok(
            "database",
            format!("The database {} opens, with its key.", facts.database),
        ),
        Err(failure) => Finding::of(failure),
    }
}

fn key_file(facts: &Facts) -> Finding {
    match &facts.key_file {
        None => Finding::ok(
            "keys_given",
            "The keys are those in THARSIS_KEYS; no key file is read.",
        ),
        Some((_, false)) => Finding::ok("key_file", "Nobody but its owner may read the key file."),
        Some((file, true)) => {
            let file = file.display().to_string();
            Finding::warning(
                "key_file_open",
                format!("Others than its owner may read the key file {file}."),
            )
            .remedy(format!("chmod 600 {}", in_shell(&file)))
        }
    }
}

fn engine(survey: &Survey) -> Vec<Finding> {
    let (version, mut faults) = match &survey.engine {
        Engine::Sqlite(engine) => (format!("SQLite {}", engine.version), sqlite(engine)),
        Engine::Postgres(engine) => {
            let version = format!(
                "PostgreSQL {}.{}",
                engine.version / 10_000,
                engine.version % 10_000
            );
            (version, postgres(engine, survey.clock))
        }
    };
    if faults.is_empty() {
        faults.push(Finding::ok(
            "engine",
            format!(
                "The database is {version}, set as it should be, with the schema {}.",
                survey.schema
            ),
        ));
    }
    faults
}

fn sqlite(engine: &SqliteEngine) -> Vec<Finding> {
    /// The log is written back at some MB, unless somebody reads all the time.
    const LARGE: u64 = 256 * 1024 * 1024;
    /// `FULL`.
    const FULL: u8 = 2;

    let mut faults = Vec::new();
    if engine.journal_mode != "wal" {
        let message = format!(
            "The journal mode of the database is {}, not wal.",
            engine.journal_mode
        );
        faults.push(
            Finding::error("journal_mode", message)
                .remedy("keep it on a local disk, and let nobody else change PRAGMA journal_mode"),
        );
    }
    if engine.synchronous < FULL {
        faults.push(
            Finding::error(
                "synchronous_off",
                "A commit does not wait for the disk, and may be lost with the power.",
            )
            .remedy("PRAGMA synchronous = FULL"),
        );
    }
    if engine.wal_bytes > LARGE {
        let size = count(engine.wal_bytes / 1024 / 1024);
        faults.push(
            Finding::warning("wal_large", format!("The write-ahead log has {size} MB: somebody reads, and does not end."))
                .remedy("end whoever has a transaction open on the file, then: PRAGMA wal_checkpoint(TRUNCATE)"),
        );
    }
    faults
}

fn postgres(engine: &PostgresEngine, clock: Timestamp) -> Vec<Finding> {
    const OLDEST: i32 = 15;
    /// A week is made ahead, once an hour.
    const SOON: Duration = Duration::from_secs(2 * 24 * 60 * 60);

    let mut faults = Vec::new();
    let version = engine.version / 10_000;
    if version < OLDEST {
        let message = format!("The server is PostgreSQL {version}, older than {OLDEST}.");
        faults.push(
            Finding::error("postgres_too_old", message)
                .remedy(format!("take PostgreSQL {OLDEST} or newer")),
        );
    }
    if !engine.fsync {
        faults.push(
            Finding::error(
                "fsync_off",
                "The server does not flush to the disk: a crash may cost the whole database.",
            )
            .remedy("fsync = on"),
        );
    }
    if !engine.full_page_writes {
        faults.push(
            Finding::error(
                "full_page_writes_off",
                "A page that is torn in a crash of the server cannot be mended.",
            )
            .remedy("full_page_writes = on"),
        );
    }
    if engine.synchronous_commit == "off" {
        faults.push(
            Finding::error(
                "synchronous_commit_off",
                "What was just published is lost when the server crashes.",
            )
            .remedy("synchronous_commit = on, for the database and for the roles that publish"),
        );
    }
    match engine.days_until {
        Some(until) if until > clock + SOON => {}
        until => {
            let message = match until {
                Some(until) => {
                    format!("There are tables for events and attempts until {until} alone.")
                }
                None => "There are no tables for the events and attempts of a day.".to_owned(),
            };
            faults.push(
                Finding::warning("days_not_made", message)
                    .remedy("tharsis run: a worker makes them ahead, once an hour"),
            );
        }
    }
    if engine.in_default {
        let message = "Events or attempts lie in a default table, because their day had none.";
        faults.push(
            Finding::warning("in_default", message)
                .remedy("tharsis run: a worker makes their day and moves them, within an hour"),
        );
    }
    faults
}

fn clock(facts: &Facts, survey: &Survey) -> Finding {
    const TOLERATED: Duration = Duration::from_secs(5);
    const TOO_MUCH: Duration = Duration::from_secs(60);

    let (ahead, behind) = (facts.now.since(survey.clock), survey.clock.since(facts.now));
    let (skew, which) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let severity = match skew {
        _ if skew >= TOO_MUCH => Severity::Error,
        _ if skew >= TOLERATED => Severity::Warning,
        _ => {
            return Finding::ok(
                "clock",
                "The clocks of this machine and of the database agree.",
            );
        }
    };
    let message = format!(
        "The clock of this machine is {} {which} that of the database.",
        age(skew)
    );
    Finding::new(severity, "clock_skewed", message)
        .remedy("set both by NTP: timedatectl set-ntp true")
}

fn workers(facts: &Facts, survey: &Survey) -> Vec<Finding> {
    if survey.workers.is_empty() {
        return vec![no_worker(survey)];
    }
    let mut faults = Vec::new();
    let free = u32::from(SHARDS).saturating_sub(survey.owned.count());
    if free > 0 {
        let message = format!(
            "{} of {SHARDS} shards have no owner: what lies there waits.",
            count(free.into())
        );
        faults.push(
            Finding::warning("shards_without_owner", message).remedy(
                "wait for the length of a lease (15s), then look again: tharsis worker list",
            ),
        );
    }
    let is_other =
        |worker: &&WorkerRecord| !worker.version.is_empty() && worker.version != facts.version;
    let others: Vec<String> = (survey.workers.iter())
        .filter(is_other)
        .map(|worker| format!("{} (pid {}) of {}", worker.host, worker.pid, worker.version))
        .collect();
    if !others.is_empty() {
        let message = format!(
            "Workers are of another version than this program ({}): {}.",
            facts.version,
            some(&others)
        );
        faults.push(
            Finding::warning("worker_of_another_version", message)
                .remedy("restart them with this version, one after the other"),
        );
    }
    if faults.is_empty() {
        let workers = counted(
            survey.workers.len() as u64,
            "worker delivers",
            "workers deliver",
        );
        faults.push(Finding::ok(
            "workers",
            format!("{workers}, and every shard has its owner."),
        ));
    }
    faults
}

fn no_worker(survey: &Survey) -> Finding {
    let mut waiting = Vec::new();
    if survey.unrouted > 0 {
        waiting.push(format!(
            "{} to be routed",
            most(survey.unrouted, "event", "events")
        ));
    }
    if let Some(overdue) = survey.overdue() {
        waiting.push(format!("a delivery that was due {} ago", age(overdue)));
    }
    if survey.commands > 0 {
        waiting.push(counted(survey.commands, "command", "commands"));
    }
    if waiting.is_empty() {
        return Finding::note(
            "no_worker",
            "Nothing delivers at present, and nothing has to be.",
        )
        .remedy("tharsis run");
    }
    let message = format!(
        "Nothing delivers at present, and there is something to do: {}.",
        waiting.join(", ")
    );
    Finding::error("no_worker", message).remedy("tharsis run")
}

/// Where somebody delivers, nothing should have to wait for long.
fn backlog(survey: &Survey) -> Vec<Finding> {
    const ROUTED: Duration = Duration::from_secs(60);
    const SENT: Duration = Duration::from_secs(5 * 60);

    let full = survey.full.iter().map(|full| {
        let (client, since) = (full.client, age(survey.clock.since(full.since)));
        let message = format!("The backlog of client {client} is full: what it publishes is refused for {since} by now.");
        let remedy = format!("tharsis delivery list --client {client} --status held --status retrying --status pending; mend what is in the way, or raise engine.backlog_limit");
        Finding::error("backlog_full", message).remedy(remedy)
    });
    let mut faults: Vec<Finding> = full.collect();
    let is_worked_off = !survey.workers.is_empty();
    let waited = (survey.unrouted_since)
        .map(|at| survey.clock.since(at))
        .unwrap_or_default();
    if is_worked_off && waited >= ROUTED {
        let events = most(survey.unrouted, "event waits", "events wait");
        let message = format!("{events} to be routed, the first for {}.", age(waited));
        faults.push(
            Finding::warning("routing_behind", message)
                .remedy("look at the log of the workers, and at tharsis worker list"),
        );
    }
    let overdue = survey.overdue().unwrap_or_default();
    if is_worked_off && overdue >= SENT {
        let message = format!(
            "A delivery has been due for {} that nothing holds.",
            age(overdue)
        );
        faults.push(
            Finding::warning("delivery_overdue", message)
                .remedy("tharsis delivery list --status pending, then tharsis why EVENT; a low --rate or --max-in-flight may be the reason"),
        );
    }
    if faults.is_empty() {
        let deliveries = most(survey.unfinished, "delivery is", "deliveries are");
        faults.push(Finding::ok(
            "backlog",
            format!(
                "{deliveries} unfinished, and {} not routed yet.",
                most(survey.unrouted, "event is", "events are")
            ),
        ));
    }
    faults
}

/// A count that goes no further than it was counted.
fn most(n: u64, one: &str, many: &str) -> String {
    if n >= MOST_COUNTED {
        format!("at least {}", counted(n, one, many))
    } else {
        counted(n, one, many)
    }
}

fn subscriptions(facts: &Facts) -> Vec<Finding> {
    let (mut unreadable, mut suspended) = (Vec::new(), Vec::new());
    let (mut open, mut paused) = (Vec::new(), Vec::new());
    for subscription in &facts.subscriptions {
        let health = &subscription.health;
        match &subscription.state {
            State::Paused => paused.push((subscription, None)),
            State::Suspended { reason } if Unreadable::parse(reason).is_some() => {
                unreadable.push((subscription, Some(&**reason)));
            }
            State::Suspended { reason } => suspended.push((subscription, Some(&**reason))),
            State::Active if health.condition == Condition::Open => {
                open.push((subscription, health.cause.as_deref()));
            }
            State::Active => {}
        }
    }
    let mut faults = Vec::new();
    if !unreadable.is_empty() {
        let message = format!(
            "Nothing is sent to what this process cannot read: {}.",
            named(&unreadable)
        );
        faults.push(Finding::error("subscription_unreadable", message).remedy(
            "secret_unreadable: the right key file, or tharsis subscription rotate; else the tharsis.toml or the program that the workers have",
        ));
    }
    if !suspended.is_empty() {
        let message = format!(
            "Nothing is sent to what is suspended: {}.",
            named(&suspended)
        );
        let remedy = command(&suspended, "tharsis subscription resume");
        faults.push(
            Finding::warning("suspended", message)
                .remedy(format!("mend the receiver, then: {remedy}")),
        );
    }
    if !open.is_empty() {
        let message = format!("Receivers fail, and are probed alone: {}.", named(&open));
        faults.push(
            Finding::warning("breaker_open", message)
                .remedy(command(&open, "tharsis subscription health")),
        );
    }
    if !paused.is_empty() {
        let message = format!(
            "What is paused keeps what it would get: {}.",
            named(&paused)
        );
        faults.push(
            Finding::note("paused", message)
                .remedy(command(&paused, "tharsis subscription resume")),
        );
    }
    if faults.is_empty() {
        let all = counted(
            facts.subscriptions.len() as u64,
            "subscription is",
            "subscriptions are",
        );
        faults.push(Finding::ok("subscriptions", format!("{all} delivered to.")));
    }
    faults
}

/// The names and ids of some, each with its reason.
fn named(all: &[(&Subscription, Option<&str>)]) -> String {
    let names: Vec<String> = (all.iter())
        .map(|(subscription, reason)| match reason {
            Some(reason) => format!(
                "{} {} ({reason})",
                subscription.settings.name, subscription.id
            ),
            None => format!("{} {}", subscription.settings.name, subscription.id),
        })
        .collect();
    some(&names)
}

/// The command for the one that it is about, or with a place for it.
fn command(all: &[(&Subscription, Option<&str>)], command: &str) -> String {
    match all {
        [(one, _)] => format!("{command} {}", one.id),
        _ => format!("{command} SUBSCRIPTION"),
    }
}

/// Some of these, and how many more there are.
fn some(all: &[String]) -> String {
    const SOME: usize = 5;
    let told = all
        .iter()
        .take(SOME)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(SOME) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn urls(facts: &Facts) -> Finding {
    let refused: Vec<String> = (facts.subscriptions.iter())
        .filter_map(|subscription| {
            let settings = &subscription.settings;
            let invalid =
                PayloadUrl::parse(settings.url.given().as_bytes(), &facts.egress).err()?;
            // Not the path: it may be what lets a sender in.
            Some(format!(
                "{} {} ({}: {})",
                settings.name, subscription.id, invalid.code, invalid.message
            ))
        })
        .collect();
    if refused.is_empty() {
        return Finding::ok("urls", "The URL of every subscription is allowed.");
    }
    let message = format!("URLs would not be registered any more: {}.", some(&refused));
    Finding::warning("url_not_allowed", message)
        .remedy("allow them by name ([egress] allow_hosts, allow_ports), or correct them: tharsis subscription set")
}

fn hosts(facts: &Facts) -> Vec<Finding> {
    let mut faults = Vec::new();
    let failing = || {
        facts
            .hosts
            .iter()
            .filter_map(|host| Some((host, host.outcome.as_ref()?)))
    };
    let mut told: Vec<&str> = Vec::new();
    for (_, outcome) in failing() {
        if told.contains(&&*outcome.code) {
            continue;
        }
        told.push(&outcome.code);
        let hosts: Vec<String> = failing()
            .filter(|(_, other)| other.code == outcome.code)
            .map(|(host, _)| format!("{} ({})", host.host, some(&host.names)))
            .collect();
        let known = codes::find(&outcome.code);
        let meaning = known.map_or(&*outcome.code, |known| known.meaning);
        let message = format!("{}: {}.", begun(meaning), some(&hosts));
        let found = match outcome.fault {
            Fault::Ours => Finding::error(&outcome.code, message),
            Fault::None | Fault::Theirs => Finding::warning(&outcome.code, message),
        };
        faults.push(match known {
            Some(known) => found.remedy(known.advice),
            None => found,
        });
    }
    if facts.unasked > 0 {
        let hosts = counted(facts.unasked as u64, "host", "hosts");
        faults.push(Finding::note(
            "hosts_not_asked",
            format!("There was no time to look up {hosts} more."),
        ));
    }
    if faults.is_empty() && facts.client.is_ok() {
        let hosts = counted(facts.hosts.len() as u64, "host leads", "hosts lead");
        faults.push(Finding::ok(
            "hosts",
            match facts.is_proxied {
                false => format!("{hosts} to where something may be sent."),
                true => {
                    let hosts = counted(facts.hosts.len() as u64, "host", "hosts");
                    format!("Where {hosts} may lead is for the proxy to judge.")
                }
            },
        ));
    }
    faults
}

/// Where a cloud tells its machines their credentials.
const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

/// Ranges that open more than anybody can mean.
fn ranges(egress: &Policy) -> Finding {
    const WIDE_V4: u8 = 8;
    const WIDE_V6: u8 = 16;

    let metadata: Vec<IpAddr> = METADATA
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let wide: Vec<String> = (egress.allow_addresses.iter())
        .filter_map(|range| {
            let is_wide = range.prefix_len()
                < if range.addr().is_ipv4() {
                    WIDE_V4
                } else {
                    WIDE_V6
                };
            if metadata.iter().any(|address| range.contains(address)) {
                Some(format!("{range} (with the metadata service of a cloud)"))
            } else {
                is_wide.then(|| range.to_string())
            }
        })
        .collect();
    if wide.is_empty() {
        return Finding::ok("egress", "No range of addresses is opened wide.");
    }
    Finding::warning(
        "egress_wide",
        format!(
            "Whoever registers a URL may have these reached: {}.",
            some(&wide)
        ),
    )
    .remedy("name the receivers' own ranges: [egress] allow_addresses, --egress-allow-address")
}

/// Whom receivers are to let in, where that is known.
fn seen_from(facts: &Facts) -> Finding {
    match &facts.seen_from {
        Some(ranges) => Finding::note(
            "seen_from",
            format!("Requests come from {ranges}: receivers are to let them in."),
        ),
        None => Finding::ok("seen_from", "Which addresses receivers see is not named."),
    }
}

fn client(facts: &Facts) -> Finding {
    match &facts.client {
        Ok(()) => Finding::ok(
            "trust",
            "The trusted roots are read, and so is how names are looked up.",
        ),
        Err(failure) => Finding::of(failure),
    }
}

fn files(facts: &Facts) -> Finding {
    /// The database, the log, and connections that are idle.
    const BESIDE: u64 = 128;

    let wanted = u64::try_from(facts.max_in_flight)
        .unwrap_or(u64::MAX)
        .saturating_add(BESIDE);
    match facts.files {
        Some(files) if files < wanted => Finding::warning(
            "few_files",
            format!(
                "Here {} may be open, too few for {} under way at once.",
                counted(files, "file", "files"),
                counted(facts.max_in_flight as u64, "request", "requests")
            ),
        )
        .remedy("LimitNOFILE=65536 in the unit of the worker, or ulimit -n 65536; or a smaller engine.max_in_flight"),
        _ => Finding::ok("files", "Enough files may be open for all requests under way."),
    }
}

fn mail(facts: &Facts) -> Vec<Finding> {
    let is_somebody_named = !facts.contacts.all.is_empty()
        || facts.contacts.clients.values().any(|of| !of.is_empty())
        || (facts.subscriptions.iter()).any(|one| !one.settings.alerts.mail.is_empty());
    match &facts.mail {
        Err(failure) => vec![Finding::of(failure)],
        Ok(false) if is_somebody_named => vec![
            Finding::warning(
                "no_smtp",
                "People are to be told when receivers fail, and no mail server is named.",
            )
            .remedy("[smtp] host and from in tharsis.toml, then: tharsis alert test ADDRESS"),
        ],
        Ok(true) if !is_somebody_named => vec![
            Finding::note(
                "no_contacts",
                "A mail server is named, and nobody to be told when receivers fail.",
            )
            .remedy("[alerts] mail in tharsis.toml, or --alert-mail of a subscription"),
        ],
        Ok(_) => vec![Finding::ok("mail", "Whoever is to be told by mail can be.")],
    }
}

fn alerts(facts: &Facts) -> Vec<Finding> {
    /// Each is looked at every few seconds.
    const LATE: Duration = Duration::from_secs(10 * 60);

    let is_untold = |record: &&AlertRecord| {
        let alert = &record.alert;
        record.outcome.is_none() && (alert.tries > 0 || alert.due_at + LATE <= facts.now)
    };
    let untold: Vec<String> = (facts.alerts.iter())
        .filter(is_untold)
        .map(|record| {
            format!(
                "{} of {}",
                record.alert.cause.as_str(),
                record.subscription_name
            )
        })
        .collect();
    let mut faults = Vec::new();
    if !untold.is_empty() {
        let message = format!("Alerts could not be told yet: {}.", some(&untold));
        faults.push(Finding::warning("alerts_untold", message).remedy(
            "tharsis alert list, and tharsis alert test ADDRESS says what the mail server answers",
        ));
    }
    let to_nobody = facts
        .alerts
        .iter()
        .filter(|record| record.outcome.as_deref() == Some("nobody"));
    let to_nobody = u64::try_from(to_nobody.count()).unwrap_or(u64::MAX);
    if to_nobody > 0 {
        let message = format!(
            "{} nobody to be told to.",
            counted(to_nobody, "alert had", "alerts had")
        );
        faults.push(
            Finding::note("alerts_to_nobody", message)
                .remedy("[smtp], and [alerts] mail, in tharsis.toml"),
        );
    }
    if faults.is_empty() {
        faults.push(Finding::ok("alerts", "No alert waits to be told."));
    }
    faults
}

#[cfg(test)]
mod tests;
