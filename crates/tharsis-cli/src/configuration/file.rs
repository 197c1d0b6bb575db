//! `tharsis.toml`: what may stand in it, and what is said of what may not.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    alerts::{AlertsTable, SmtpTable},
    egress::EgressTable,
    engine::{EngineTable, RetentionTable},
    observe::ObserveTable,
    profiles::{PROFILE_KEYS, ProfileTable},
};
use crate::{arguments::LogFormat, output::Failure};

const DEFAULT_FILE: &str = "tharsis.toml";

/// `tharsis.toml`. Its keys are those of [`KEYS`]; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) database: Option<String>,
    /// Relative to the file's own folder.
    pub(super) key_file: Option<PathBuf>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) egress: EgressTable,
    pub(super) engine: EngineTable,
    pub(super) alerts: AlertsTable,
    pub(super) retention: RetentionTable,
    pub(super) observe: ObserveTable,
    pub(super) smtp: Option<SmtpTable>,
    /// By name. Their keys are those of [`PROFILE_KEYS`].
    pub(super) profiles: BTreeMap<String, ProfileTable>,
}

/// Every key of the file, but for those of profiles and of clients.
const KEYS: [&str; 30] = [
    "database",
    "key_file",
    "log",
    "log_format",
    "egress.allow_addresses",
    "egress.allow_hosts",
    "egress.allow_ports",
    "egress.ca_file",
    "egress.source_addresses",
    "egress.seen_from",
    "egress.proxy",
    "engine.max_in_flight",
    "engine.cache_bytes",
    "engine.grace",
    "engine.lease",
    "engine.backlog_limit",
    "alerts.mail",
    "alerts.every",
    "retention.history",
    "retention.excerpts",
    "retention.audit",
    "observe.listen",
    "observe.overdue",
    "smtp.host",
    "smtp.port",
    "smtp.tls",
    "smtp.user",
    "smtp.password_file",
    "smtp.from",
    "smtp.ca_file",
];

impl File {
    /// The file that was named, which must be there; else `tharsis.toml`, which need not.
    pub(super) fn read(named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut file = Self::parse(&path.display().to_string(), &text)?;
                let folder = path.parent().unwrap_or(Path::new(""));
                let mut smtp = file.smtp.as_mut();
                let of_smtp =
                    (smtp.as_mut()).map(|smtp| [&mut smtp.password_file, &mut smtp.ca_file]);
                let others = [&mut file.key_file, &mut file.egress.ca_file];
                for named in others.into_iter().chain(of_smtp.into_iter().flatten()) {
                    *named = named.take().map(|named| folder.join(named));
                }
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::usage(
                "config_unreadable",
                format!("cannot be read: {error}"),
            )
            .at(path.display().to_string())),
        }
    }

    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let bad = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            Failure::usage("bad_config", format!("line {line}: {}", error.message())).at(name)
        };
        let table: toml::Table = toml::from_str(text).map_err(|error| bad(&error))?;
        let mut table = table;
        let declared = table.remove("profiles");
        if let Some(unknown) = declared.as_ref().and_then(unknown_profile_key) {
            return Err(
                Failure::usage("unknown_key", format!("is no key of {name}"))
                    .at(&unknown)
                    .hint(format!(
                        "the keys of a profile are {}",
                        PROFILE_KEYS.join(", ")
                    )),
            );
        }
        let alerts = table.get_mut("alerts").and_then(toml::Value::as_table_mut);
        let clients = alerts.and_then(|alerts| alerts.remove("clients"));
        if let Some(unknown) = clients.as_ref().and_then(unknown_client_key) {
            return Err(
                Failure::usage("unknown_key", format!("is no key of {name}"))
                    .at(&unknown)
                    .hint("the key of a client is mail"),
            );
        }
        if let Some(unknown) = unknown_key("", &table) {
            let failure =
                Failure::usage("unknown_key", format!("is no key of {name}")).at(&unknown);
            return Err(match nearest(&unknown) {
                Some(key) => failure.hint(format!("did you mean `{key}`?")),
                None => failure.hint(format!("the keys are {}", KEYS.join(", "))),
            });
        }
        toml::from_str(text).map_err(|error| bad(&error))
    }
}

/// The first key of a declared profile that is none, as a path.
fn unknown_profile_key(declared: &toml::Value) -> Option<String> {
    let profiles = declared.as_table()?.iter();
    let keys = profiles.filter_map(|(name, profile)| Some((name, profile.as_table()?)));
    keys.flat_map(|(name, profile)| profile.keys().map(move |key| (name, key)))
        .find(|(_, key)| !PROFILE_KEYS.contains(&key.as_str()))
        .map(|(name, key)| format!("profiles.{name}.{key}"))
}

/// The first key of a client's contacts that is none, as a path.
fn unknown_client_key(clients: &toml::Value) -> Option<String> {
    let clients = clients.as_table()?.iter();
    let keys = clients.filter_map(|(id, client)| Some((id, client.as_table()?)));
    keys.flat_map(|(id, client)| client.keys().map(move |key| (id, key)))
        .find(|(_, key)| *key != "mail")
        .map(|(id, key)| format!("alerts.clients.{id}.{key}"))
}

/// The first key that is none of ours, as a path.
fn unknown_key(above: &str, table: &toml::Table) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let path = if above.is_empty() {
            key.clone()
        } else {
            format!("{above}.{key}")
        };
        match value {
            _ if KEYS.contains(&path.as_str()) => None,
            _ if !KEYS
                .iter()
                .any(|known| known.starts_with(&format!("{path}."))) =>
            {
                Some(path)
            }
            toml::Value::Table(inner) => unknown_key(&path, inner),
            // Something else where a table belongs: reading it says so.
            _ => None,
        }
    })
}

/// The key or table that is most like it. A key in the wrong table is as likely as one that is mistyped.
fn nearest(unknown: &str) -> Option<&'static str> {
    let name = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let unknown = unknown.rsplit('.').next().unwrap_or(unknown);
    let likeness = |known| strsim::jaro_winkler(name(known), unknown);
    KEYS.into_iter()
        .chain(["egress", "engine", "alerts", "observe", "smtp", "profiles"])
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
