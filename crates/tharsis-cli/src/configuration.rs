//! What the process runs with: flags over `THARSIS_*` variables over `tharsis.toml` over defaults.
//!
//! This is the only reader of the environment and of the file. What opens egress adds up: a flag widens what the file
//! and the environment allow, and never narrows it.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;
use ipnet::IpNet;
use tharsis::{
    EngineOptions, alert::Contacts, dispatch::Proxy, egress::Policy, parse_duration,
    profile::Profiles, secret::Keyring, store::redacted,
};
use zeroize::Zeroizing;

use self::{
    alerts::SmtpTable,
    egress::{policy, proxy, seen_from, source_addresses},
    file::File,
};
use crate::{
    arguments::{Global, LogFormat},
    output::Failure,
};

mod alerts;
mod egress;
mod engine;
mod file;
mod observe;
mod profiles;

pub(crate) use alerts::SmtpSettings;
pub(crate) use observe::Observe;

const DEFAULT_DATABASE: &str = "sqlite://tharsis.db";
const DEFAULT_KEY_FILE: &str = "tharsis.key";
const KEYS_VARIABLE: &str = "THARSIS_KEYS";

/// The settled configuration.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// Where the database is.
    pub(crate) database: DatabaseUrl,
    /// The file of the keys that secrets are sealed with, on PostgreSQL.
    pub(crate) key_file: PathBuf,
    /// The keys themselves, in place of the file.
    pub(crate) keys: Option<Keyring>,
    /// What is logged.
    pub(crate) log: String,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
    /// What may be reached.
    pub(crate) egress: Policy,
    /// Certificates trusted beside the system's roots.
    pub(crate) ca_file: Option<PathBuf>,
    /// Addresses of this machine that requests go out from.
    pub(crate) source_addresses: Vec<IpAddr>,
    /// What requests go through.
    pub(crate) proxy: Option<Proxy>,
    /// Where requests come from as receivers see it: what they are to let in.
    pub(crate) seen_from: Vec<IpNet>,
    /// How the engine runs.
    pub(crate) engine: EngineOptions,
    /// How long a worker's lease holds, on PostgreSQL.
    pub(crate) lease: Option<Duration>,
    /// Who is told when receivers fail, beside those whom subscriptions name.
    pub(crate) contacts: Contacts,
    /// The mail server, where one is named.
    pub(crate) smtp: Option<SmtpSettings>,
    /// How a process lets itself be looked at.
    pub(crate) observe: Observe,
    /// The contracts on the wire: those that come with the program, and those that the file declares.
    pub(crate) profiles: Profiles,
}

/// The database's URL, which is printed without the password in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// All of it, for the one that opens it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is that of an SQLite file.
    pub(crate) fn is_file(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl Configuration {
    /// Reads the environment of the process and the file, and settles them with the flags.
    pub(crate) fn load(flags: &Global) -> Result<Self, Failure> {
        Self::settle(flags, &|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::usage("bad_environment", "is not UTF-8").at(name))
            }
        })
    }

    fn settle(
        flags: &Global,
        variable: &dyn Fn(&str) -> Result<Option<String>, Failure>,
    ) -> Result<Self, Failure> {
        // An empty variable is one that is not set: that is how shells and compose files leave one out.
        let variable =
            |name: &str| Ok::<_, Failure>(variable(name)?.filter(|value| !value.is_empty()));
        let named = match &flags.config {
            Some(path) => Some(path.clone()),
            None => variable("THARSIS_CONFIG")?.map(PathBuf::from),
        };
        Self::over(File::read(named.as_deref())?, flags, &variable)
    }

    /// Flags over variables over what the file says.
    fn over(
        file: File,
        flags: &Global,
        variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    ) -> Result<Self, Failure> {
        let egress = policy(flags, variable, &file.egress)?;
        let source_addresses = source_addresses(variable, &file.egress)?;
        let seen_from = seen_from(variable, &file.egress, &source_addresses)?;
        let proxy = proxy(variable, &file.egress)?;
        let path = |flag: &Option<PathBuf>, name: &str, file: Option<PathBuf>| match flag {
            Some(path) => Ok(Some(path.clone())),
            None => Ok::<_, Failure>(variable(name)?.map(PathBuf::from).or(file)),
        };
        let ca_file = path(
            &flags.egress_ca_file,
            "THARSIS_EGRESS_CA_FILE",
            file.egress.ca_file,
        )?;
        let keys = variable(KEYS_VARIABLE)?
            .map(|text| Keyring::parse(Zeroizing::new(text).as_bytes()))
            .transpose()
            .map_err(|invalid| Failure::from(invalid).at(KEYS_VARIABLE).into_usage())?;
        let key_file = path(&flags.key_file, "THARSIS_KEY_FILE", None)?;
        if keys.is_some() && key_file.is_some() {
            return Err(
                Failure::usage("keys_given_twice", "are given, and a file of keys too")
                    .at(KEYS_VARIABLE)
                    .hint("leave one of them out"),
            );
        }
        let key_file = (key_file.or(file.key_file)).unwrap_or_else(|| DEFAULT_KEY_FILE.into());
        let database = first([
            flags.database.clone(),
            variable("THARSIS_DATABASE_URL")?,
            file.database,
        ])
        .unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let log_format = match (flags.log_format, variable("THARSIS_LOG_FORMAT")?) {
            (Some(format), _) => Some(format),
            (None, Some(text)) => Some(LogFormat::from_str(&text, true).map_err(|_| {
                Failure::usage("bad_environment", "is neither `human` nor `json`")
                    .at("THARSIS_LOG_FORMAT")
            })?),
            (None, None) => file.log_format,
        };
        Ok(Self {
            database: DatabaseUrl(database),
            key_file,
            keys,
            log: first([flags.log.clone(), variable("THARSIS_LOG")?, file.log])
                .unwrap_or_else(|| "warn".to_owned()),
            log_format: log_format.unwrap_or_default(),
            egress,
            ca_file,
            source_addresses,
            proxy,
            seen_from,
            engine: EngineOptions {
                retention: file.retention.retention()?,
                ..file.engine.options()?
            },
            lease: file.engine.lease()?,
            contacts: file.alerts.contacts()?,
            smtp: file.smtp.map(SmtpTable::settings).transpose()?,
            observe: file.observe.observe(variable)?,
            profiles: profiles::profiles(file.profiles)?,
        })
    }
}

/// Arms what a story of Tharsis's own wants to go wrong in this process.
#[cfg(debug_assertions)]
pub(crate) fn arm_failpoints() -> Result<(), Failure> {
    const FAILPOINT: &str = "THARSIS_FAILPOINT";
    match std::env::var(FAILPOINT) {
        Ok(settings) if !settings.is_empty() => tharsis::store::failpoint::arm(&settings)
            .map_err(|invalid| Failure::from(invalid).at(FAILPOINT).into_usage()),
        _ => Ok(()),
    }
}

fn first(choices: [Option<String>; 3]) -> Option<String> {
    choices.into_iter().flatten().next()
}

fn listed(value: Option<String>) -> Vec<String> {
    value
        .unwrap_or_default()
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

fn span(text: Option<&str>, key: &str) -> Result<Option<Duration>, Failure> {
    text.map(parse_duration)
        .transpose()
        .map_err(|invalid| Failure::from(invalid).at(key).into_usage())
}

#[cfg(test)]
mod tests;
