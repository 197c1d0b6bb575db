//! What the process runs with: flags over `THARSIS_*` variables over `tharsis.toml` over defaults.
//!
//! This is the only reader of the environment and of the file. What opens egress adds up: a flag widens what the file
//! and the environment allow, and never narrows it.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::Deserialize;
use tharsis::{
    EngineOptions, Invalid,
    alert::{Contacts, MailAddress},
    dispatch::Proxy,
    egress::Policy,
    parse_duration,
    profile::{Declaration, Profiles},
    secret::Keyring,
    store::{Retention, redacted},
};
use tharsis_mail::Security;
use zeroize::Zeroizing;

use crate::{
    arguments::{Global, LogFormat},
    output::Failure,
};

const DEFAULT_FILE: &str = "tharsis.toml";
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
    /// The contracts on the wire: those that come with the program, and those that the file declares.
    pub(crate) profiles: Profiles,
}

/// The mail server, and as whom we come to it. The password is read by those who send.
#[derive(Debug, Clone)]
pub(crate) struct SmtpSettings {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) security: Security,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) from: MailAddress,
    pub(crate) ca_file: Option<PathBuf>,
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

/// `tharsis.toml`. Its keys are those of [`KEYS`]; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    database: Option<String>,
    /// Relative to the file's own folder.
    key_file: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    egress: EgressTable,
    engine: EngineTable,
    alerts: AlertsTable,
    retention: RetentionTable,
    smtp: Option<SmtpTable>,
    /// By name. Their keys are those of [`PROFILE_KEYS`].
    profiles: BTreeMap<String, ProfileTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct EgressTable {
    allow_addresses: Vec<String>,
    allow_hosts: Vec<String>,
    /// In place of the default.
    allow_ports: Option<Vec<u16>>,
    /// Relative to the file's own folder.
    ca_file: Option<PathBuf>,
    source_addresses: Vec<String>,
    /// In place of the source addresses, where others stand before them.
    seen_from: Vec<String>,
    proxy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct EngineTable {
    max_in_flight: Option<usize>,
    cache_bytes: Option<usize>,
    /// As `10s`.
    grace: Option<String>,
    /// As `15s`.
    lease: Option<String>,
    backlog_limit: Option<u64>,
}

/// Each as `90d`, or `none` for ever.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct RetentionTable {
    history: Option<String>,
    excerpts: Option<String>,
    audit: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct AlertsTable {
    mail: Vec<String>,
    /// As `1h`.
    every: Option<String>,
    /// By the client's UUID.
    clients: BTreeMap<String, ClientTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct ClientTable {
    mail: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct SmtpTable {
    host: Option<String>,
    port: Option<u16>,
    tls: Option<String>,
    user: Option<String>,
    /// Relative to the file's own folder, as the other.
    password_file: Option<PathBuf>,
    from: Option<String>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct ProfileTable {
    content_type: Option<String>,
    encoding: Option<String>,
    form_field: Option<String>,
    signature_header: Option<String>,
    signed: Option<String>,
    algorithm: Option<String>,
    key: Option<String>,
    prefix: Option<String>,
    digest: Option<String>,
    timestamp_prefix: Option<String>,
    separator: Option<String>,
    headers: BTreeMap<String, String>,
    check: Option<String>,
    success: Option<String>,
    timeout: Option<String>,
    most_retries: Option<usize>,
    payload_limit: Option<usize>,
    events: Vec<String>,
    batch_items: Option<u32>,
    linger: Option<String>,
}

/// Every key of a declared profile, in `profiles.NAME`.
const PROFILE_KEYS: [&str; 20] = [
    "content_type",
    "encoding",
    "form_field",
    "signature_header",
    "signed",
    "algorithm",
    "key",
    "prefix",
    "digest",
    "timestamp_prefix",
    "separator",
    "headers",
    "check",
    "success",
    "timeout",
    "most_retries",
    "payload_limit",
    "events",
    "batch_items",
    "linger",
];

/// Every key of the file, but for those of profiles and of clients.
const KEYS: [&str; 28] = [
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
    "smtp.host",
    "smtp.port",
    "smtp.tls",
    "smtp.user",
    "smtp.password_file",
    "smtp.from",
    "smtp.ca_file",
];

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
        let egress = egress(flags, variable, &file.egress)?;
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
            profiles: profiles(file.profiles)?,
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

fn egress(
    flags: &Global,
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    if let Some(ports) = &file.allow_ports {
        policy.allow_ports.clone_from(ports);
    }
    let mut allow_address = |range: &str, place: &str| {
        policy.allow_addresses.push(
            Policy::range(range)
                .map_err(|invalid| Failure::from(invalid).at(place).into_usage())?,
        );
        Ok::<_, Failure>(())
    };
    for range in &file.allow_addresses {
        allow_address(range, "egress.allow_addresses")?;
    }
    for range in listed(variable("THARSIS_EGRESS_ALLOW_ADDRESSES")?) {
        allow_address(&range, "THARSIS_EGRESS_ALLOW_ADDRESSES")?;
    }
    for range in &flags.egress_allow_address {
        allow_address(range, "--egress-allow-address")?;
    }
    policy.allow_hosts.extend(file.allow_hosts.iter().cloned());
    policy
        .allow_hosts
        .extend(listed(variable("THARSIS_EGRESS_ALLOW_HOSTS")?));
    policy
        .allow_hosts
        .extend(flags.egress_allow_host.iter().cloned());
    for port in listed(variable("THARSIS_EGRESS_ALLOW_PORTS")?) {
        let port = port.parse().map_err(|_| {
            Failure::usage("bad_environment", "is no list of ports")
                .at("THARSIS_EGRESS_ALLOW_PORTS")
        })?;
        policy.allow_ports.push(port);
    }
    policy.allow_ports.extend(&flags.egress_allow_port);
    Ok(policy)
}

/// What is set under one of two names, the first of which goes before the other.
fn either(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    name: &'static str,
    file: &[String],
    key: &'static str,
) -> Result<(Vec<String>, &'static str), Failure> {
    Ok(match variable(name)? {
        Some(text) => (listed(Some(text)), name),
        None => (file.to_vec(), key),
    })
}

fn source_addresses(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Vec<IpAddr>, Failure> {
    let (listed, place) = either(
        variable,
        "THARSIS_EGRESS_SOURCE_ADDRESSES",
        &file.source_addresses,
        "egress.source_addresses",
    )?;
    let address = |text: &String| {
        text.parse::<IpAddr>().map_err(|_| {
            Failure::usage("bad_address", "is no IP address")
                .at(place)
                .hint("write addresses of this machine, as 203.0.114.7")
        })
    };
    listed.iter().map(address).collect()
}

fn seen_from(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
    source_addresses: &[IpAddr],
) -> Result<Vec<IpNet>, Failure> {
    let (listed, place) = either(
        variable,
        "THARSIS_EGRESS_SEEN_FROM",
        &file.seen_from,
        "egress.seen_from",
    )?;
    if listed.is_empty() {
        return Ok(source_addresses.iter().copied().map(IpNet::from).collect());
    }
    let range = |text: &String| {
        Policy::range(text).map_err(|invalid| Failure::from(invalid).at(place).into_usage())
    };
    listed.iter().map(range).collect()
}

fn proxy(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Option<Proxy>, Failure> {
    const VARIABLE: &str = "THARSIS_EGRESS_PROXY";
    let (text, place) = match variable(VARIABLE)? {
        Some(text) => (text, VARIABLE),
        None => match &file.proxy {
            Some(text) => (text.clone(), "egress.proxy"),
            None => return Ok(None),
        },
    };
    Proxy::parse(&text)
        .map(Some)
        .map_err(|invalid| Failure::from(invalid).at(place).into_usage())
}

/// Those that come with the program and those that are declared, each tried out with a sample.
fn profiles(declared: BTreeMap<String, ProfileTable>) -> Result<Profiles, Failure> {
    let refused = |invalid| Failure::from(invalid).into_usage();
    let declared = declared
        .into_iter()
        .map(|(name, table)| table.declaration().profile(&name))
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    Profiles::default().with(declared).map_err(refused)
}

impl ProfileTable {
    fn declaration(self) -> Declaration {
        Declaration {
            content_type: self.content_type,
            encoding: self.encoding,
            form_field: self.form_field,
            signature_header: self.signature_header,
            signed: self.signed,
            algorithm: self.algorithm,
            key: self.key,
            prefix: self.prefix,
            digest: self.digest,
            timestamp_prefix: self.timestamp_prefix,
            separator: self.separator,
            headers: self.headers.into_iter().collect(),
            check: self.check,
            success: self.success,
            timeout: self.timeout,
            most_retries: self.most_retries,
            payload_limit: self.payload_limit,
            events: self.events,
            batch_items: self.batch_items,
            linger: self.linger,
        }
    }
}

fn listed(value: Option<String>) -> Vec<String> {
    value
        .unwrap_or_default()
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

impl EngineTable {
    fn options(&self) -> Result<EngineOptions, Failure> {
        let default = EngineOptions::default();
        let grace = span(self.grace.as_deref(), "engine.grace")?.unwrap_or(default.grace);
        if self.backlog_limit == Some(0) {
            return Err(Failure::usage("out_of_range", "is below 1").at("engine.backlog_limit"));
        }
        Ok(EngineOptions {
            max_in_flight: self.max_in_flight.unwrap_or(default.max_in_flight),
            cache_bytes: self.cache_bytes.unwrap_or(default.cache_bytes),
            grace,
            backlog_limit: self.backlog_limit,
            ..default
        })
    }

    fn lease(&self) -> Result<Option<Duration>, Failure> {
        span(self.lease.as_deref(), "engine.lease")
    }
}

impl RetentionTable {
    fn retention(&self) -> Result<Retention, Failure> {
        let kept = |text: &Option<String>, key, default| match text.as_deref() {
            None => Ok(default),
            Some("none") => Ok(None),
            Some(text) => match span(Some(text), key)? {
                Some(kept) if kept < Retention::LEAST => {
                    Err(Failure::usage("out_of_range", "is shorter than 1d").at(key))
                }
                kept => Ok(kept),
            },
        };
        let default = Retention::default();
        Ok(Retention {
            history: kept(&self.history, "retention.history", default.history)?,
            excerpts: kept(&self.excerpts, "retention.excerpts", default.excerpts)?,
            audit: kept(&self.audit, "retention.audit", default.audit)?,
        })
    }
}

impl AlertsTable {
    fn contacts(&self) -> Result<Contacts, Failure> {
        const LEAST: Duration = Duration::from_secs(60);
        let every = span(self.every.as_deref(), "alerts.every")?;
        if every.is_some_and(|every| every < LEAST) {
            return Err(Failure::usage("out_of_range", "is shorter than 1m").at("alerts.every"));
        }
        let mut contacts = Contacts {
            all: addresses(&self.mail, "alerts.mail")?,
            ..Contacts::default()
        };
        contacts.every = every.unwrap_or(contacts.every);
        for (client, table) in &self.clients {
            let place = format!("alerts.clients.{client}");
            let id = client
                .parse()
                .map_err(|invalid: Invalid| Failure::from(invalid).at(&place).into_usage())?;
            let mail = addresses(&table.mail, &format!("{place}.mail"))?;
            contacts.clients.insert(id, mail);
        }
        Ok(contacts)
    }
}

impl SmtpTable {
    fn settings(self) -> Result<SmtpSettings, Failure> {
        let missing = |key: &str| Failure::usage("missing_key", "is missing").at(key);
        let bad =
            |key: &'static str| move |invalid: Invalid| Failure::from(invalid).at(key).into_usage();
        let from = self.from.ok_or_else(|| missing("smtp.from"))?;
        if self.user.is_some() != self.password_file.is_some() {
            return Err(missing(match self.user {
                Some(_) => "smtp.password_file",
                None => "smtp.user",
            }));
        }
        Ok(SmtpSettings {
            host: self.host.ok_or_else(|| missing("smtp.host"))?,
            port: self.port,
            security: match self.tls {
                Some(text) => Security::parse(&text).map_err(bad("smtp.tls"))?,
                None => Security::default(),
            },
            user: self.user,
            password_file: self.password_file,
            from: from.parse().map_err(bad("smtp.from"))?,
            ca_file: self.ca_file,
        })
    }
}

fn addresses(mail: &[String], key: &str) -> Result<Vec<MailAddress>, Failure> {
    let parse = |text: &String| text.parse();
    let parsed: Result<_, Invalid> = mail.iter().map(parse).collect();
    parsed.map_err(|invalid| Failure::from(invalid).at(key).into_usage())
}

fn span(text: Option<&str>, key: &str) -> Result<Option<Duration>, Failure> {
    text.map(parse_duration)
        .transpose()
        .map_err(|invalid| Failure::from(invalid).at(key).into_usage())
}

impl File {
    /// The file that was named, which must be there; else `tharsis.toml`, which need not.
    fn read(named: Option<&Path>) -> Result<Self, Failure> {
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

    fn parse(name: &str, text: &str) -> Result<Self, Failure> {
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
        .chain(["egress", "engine", "alerts", "smtp", "profiles"])
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settles flags, variables and a file, as a process would.
    fn settle(
        flags: Global,
        variables: &[(&str, &str)],
        file: &str,
    ) -> Result<Configuration, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tharsis.toml");
        fs::write(&path, file).unwrap();
        let flags = Global {
            config: Some(path),
            ..flags
        };
        Configuration::settle(&flags, &|name| {
            Ok(variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned()))
        })
    }

    fn refused(file: &str) -> String {
        File::parse("tharsis.toml", file).unwrap_err().to_string()
    }

    #[test]
    fn flags_go_over_variables_over_the_file_over_defaults() {
        let flags = || Global {
            database: Some("sqlite://flag.db".to_owned()),
            ..Global::default()
        };
        let variables = [("THARSIS_DATABASE_URL", "sqlite://variable.db")];
        let file = "database = 'sqlite://file.db'";
        let database = |flags, variables: &[_], file| {
            let settled = settle(flags, variables, file).unwrap();
            settled.database.expose().to_owned()
        };
        assert_eq!(database(flags(), &variables, file), "sqlite://flag.db");
        assert_eq!(
            database(Global::default(), &variables, file),
            "sqlite://variable.db"
        );
        assert_eq!(database(Global::default(), &[], file), "sqlite://file.db");
        assert_eq!(database(Global::default(), &[], ""), "sqlite://tharsis.db");
        let empty = [("THARSIS_DATABASE_URL", "")];
        assert_eq!(
            database(Global::default(), &empty, file),
            "sqlite://file.db"
        );
    }

    #[test]
    fn what_allows_egress_adds_up() {
        let flags = Global {
            egress_allow_address: vec!["10.1.2.3".to_owned()],
            egress_allow_port: vec![9443],
            ..Global::default()
        };
        let variables = [
            ("THARSIS_EGRESS_ALLOW_HOSTS", "localhost, dev.localhost"),
            ("THARSIS_EGRESS_ALLOW_PORTS", "9000"),
        ];
        let file =
            "[egress]\nallow_addresses = ['127.0.0.0/8']\nallow_ports = [443]\nca_file = 'ca.pem'";
        let settled = settle(flags, &variables, file).unwrap();
        let ranges: Vec<_> = settled
            .egress
            .allow_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ranges, ["127.0.0.0/8", "10.1.2.3/32"]);
        assert_eq!(settled.egress.allow_hosts, ["localhost", "dev.localhost"]);
        assert_eq!(settled.egress.allow_ports, [443, 9000, 9443]);
        let ca_file = settled.ca_file.unwrap();
        assert!(
            ca_file.is_absolute() && ca_file.ends_with("ca.pem"),
            "beside the file, not where we are"
        );
    }

    #[test]
    fn receivers_see_the_source_addresses_or_what_stands_before_them() {
        let seen_from = |variables: &[_], file| {
            let settled = settle(Global::default(), variables, file).unwrap();
            let seen_from = settled.seen_from.iter().map(ToString::to_string);
            (
                settled.source_addresses.len(),
                seen_from.collect::<Vec<_>>(),
            )
        };
        let file = "[egress]\nsource_addresses = ['10.0.0.7', '10.0.0.8']";
        let (sources, seen) = seen_from(&[], file);
        assert_eq!(
            (sources, &*seen),
            (2, &["10.0.0.7/32".into(), "10.0.0.8/32".into()][..])
        );
        let nat = [("THARSIS_EGRESS_SEEN_FROM", "203.0.114.0/29")];
        assert_eq!(
            seen_from(&nat, file),
            (2, vec!["203.0.114.0/29".to_owned()])
        );
        assert_eq!(seen_from(&[], ""), (0, vec![]));
        let refused = |file| {
            settle(Global::default(), &[], file)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(refused("[egress]\nsource_addresses = ['eth0']"), @"bad_address: egress.source_addresses: is no IP address (write addresses of this machine, as 203.0.114.7)");
        insta::assert_snapshot!(refused("[egress]\nseen_from = ['here']"), @"bad_address_range: egress.seen_from: is no range of addresses (write it like 127.0.0.0/8, fd00::/8 or 192.168.1.7)");
    }

    #[test]
    fn a_proxy_is_named_and_its_password_never_printed() {
        let file = "[egress]\nproxy = 'http://egress:s3cret@proxy.internal:3128'";
        let settled = settle(Global::default(), &[], file).unwrap();
        let printed = format!("{settled:?}");
        assert!(
            printed.contains("http://proxy.internal:3128") && !printed.contains("s3cret"),
            "{printed}"
        );
        let refused = |variables: &[_]| {
            settle(Global::default(), variables, file)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(refused(&[("THARSIS_EGRESS_PROXY", "proxy.internal:3128")]), @"bad_proxy: THARSIS_EGRESS_PROXY: does not begin with http:// (write http://HOST:PORT, with USER:PASSWORD@ before the host where it asks for them)");
    }

    #[test]
    fn the_key_file_lies_beside_the_file_that_names_it() {
        let key_file =
            |flags, variables: &[_], file| settle(flags, variables, file).unwrap().key_file;
        let flags = || Global {
            key_file: Some("flag.key".into()),
            ..Global::default()
        };
        let variables = [("THARSIS_KEY_FILE", "variable.key")];
        let file = "key_file = 'file.key'";
        assert_eq!(key_file(flags(), &variables, file), Path::new("flag.key"));
        assert_eq!(
            key_file(Global::default(), &variables, file),
            Path::new("variable.key")
        );
        let beside = key_file(Global::default(), &[], file);
        assert!(beside.is_absolute() && beside.ends_with("file.key"));
        assert_eq!(
            key_file(Global::default(), &[], ""),
            Path::new("tharsis.key")
        );
    }

    #[test]
    fn keys_stand_in_the_place_of_a_file_and_are_never_printed() {
        let key = "5a".repeat(32);
        let variables = [("THARSIS_KEYS", key.as_str())];
        let file = "key_file = 'file.key'";
        let settled = settle(Global::default(), &variables, file).unwrap();
        assert_eq!(settled.keys.iter().flat_map(Keyring::iter).count(), 1);
        assert!(!format!("{settled:?}").contains(&key));

        let refused = |variables: &[_]| {
            let failure = settle(Global::default(), variables, "").unwrap_err();
            format!("{failure:?}")
        };
        let twice = refused(&[variables[0], ("THARSIS_KEY_FILE", "variable.key")]);
        assert!(twice.contains("keys_given_twice"), "{twice}");
        let bad = format!("{key},{}", "5a".repeat(31));
        let bad = refused(&[("THARSIS_KEYS", &bad)]);
        assert!(bad.contains("bad_key") && !bad.contains("5a5a"), "{bad}");
    }

    #[test]
    fn a_password_in_the_url_is_never_printed() {
        let file = "database = 'postgres://engine:s3cret@db/shop'";
        let settled = settle(Global::default(), &[], file).unwrap();
        assert!(settled.database.expose().contains("s3cret"));
        let printed = format!("{} {settled:?}", settled.database);
        assert!(
            printed.contains("postgres://engine:***@db/shop") && !printed.contains("s3cret"),
            "{printed}"
        );
    }

    #[test]
    fn a_lease_is_a_span() {
        let lease = |file| settle(Global::default(), &[], file).map(|settled| settled.lease);
        assert_eq!(
            lease("[engine]\nlease = '1s'").unwrap(),
            Some(Duration::from_secs(1))
        );
        assert_eq!(lease("").unwrap(), None);
        insta::assert_snapshot!(lease("[engine]\nlease = 'soon'").unwrap_err(), @"bad_duration: engine.lease: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
    }

    #[test]
    fn contacts_are_of_all_and_of_clients() {
        let contacts = |file| settle(Global::default(), &[], file).map(|settled| settled.contacts);
        let file = "[alerts]\nmail = ['ops@house.example']\nevery = '2h'
            [alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmail = ['shop@shop.example']";
        let settled = contacts(file).unwrap();
        let client = "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap();
        let told = |client| settled.of(client, &tharsis::alert::Alerts::default());
        let names = |client| {
            told(client)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(client), ["shop@shop.example", "ops@house.example"]);
        assert_eq!(settled.every, Duration::from_secs(2 * 60 * 60));
        let refused = |file| contacts(file).unwrap_err().to_string();
        insta::assert_snapshot!(refused("[alerts]\nmail = ['ops']"), @"bad_address: alerts.mail: is no mail address (write it like ops@shop.example)");
        insta::assert_snapshot!(refused("[alerts]\nevery = '1s'"), @"out_of_range: alerts.every: is shorter than 1m");
        insta::assert_snapshot!(refused("[alerts.clients.shop]\nmail = []"), @"bad_uuid: alerts.clients.shop: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)");
        insta::assert_snapshot!(self::refused("[alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmial = []"), @"unknown_key: alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2.mial: is no key of tharsis.toml (the key of a client is mail)");
    }

    #[test]
    fn what_is_over_is_kept_for_as_long_as_is_said() {
        let kept =
            |file| settle(Global::default(), &[], file).map(|settled| settled.engine.retention);
        assert_eq!(kept("").unwrap(), Retention::default());
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(
            kept("[retention]\nhistory = '14d'\nexcerpts = 'none'").unwrap(),
            Retention {
                history: Some(day * 14),
                excerpts: None,
                ..Retention::default()
            }
        );
        let refused = |file| kept(file).unwrap_err().to_string();
        insta::assert_snapshot!(refused("[retention]\nhistory = '23h'"), @"out_of_range: retention.history: is shorter than 1d");
        insta::assert_snapshot!(refused("[retention]\naudit = 'ever'"), @"bad_duration: retention.audit: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
    }

    #[test]
    fn a_mail_server_has_a_name_and_a_sender() {
        let smtp = |file| settle(Global::default(), &[], file).map(|settled| settled.smtp);
        let file = "[smtp]\nhost = 'mail.house.example'\nfrom = 'tharsis@house.example'\nuser = 'tharsis'\npassword_file = 'smtp.password'";
        let settled = smtp(file).unwrap().unwrap();
        assert_eq!((settled.security, settled.port), (Security::Required, None));
        let password_file = settled.password_file.unwrap();
        assert!(password_file.is_absolute(), "beside the file");
        let refused = |file| smtp(file).unwrap_err().to_string();
        insta::assert_snapshot!(refused("[smtp]\nfrom = 'a@b.example'"), @"missing_key: smtp.host: is missing");
        insta::assert_snapshot!(refused("[smtp]\nhost = 'x'"), @"missing_key: smtp.from: is missing");
        insta::assert_snapshot!(refused("[smtp]\nhost = 'x'\nfrom = 'a@b.example'\nuser = 'me'"), @"missing_key: smtp.password_file: is missing");
        insta::assert_snapshot!(refused("[smtp]\nhost = 'x'\nfrom = 'a@b.example'\ntls = 'maybe'"), @"bad_tls: smtp.tls: is no way to a mail server (choose one of: required, starttls, none)");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_likely_one() {
        insta::assert_snapshot!(refused("databse = 'x'"), @"unknown_key: databse: is no key of tharsis.toml (did you mean `database`?)");
        insta::assert_snapshot!(refused("[egres]\nallow_hosts = []"), @"unknown_key: egres: is no key of tharsis.toml (did you mean `egress`?)");
        insta::assert_snapshot!(refused("allow_hosts = []"), @"unknown_key: allow_hosts: is no key of tharsis.toml (did you mean `egress.allow_hosts`?)");
        insta::assert_snapshot!(refused("[egress]\nwhatever = false"), @"unknown_key: egress.whatever: is no key of tharsis.toml (the keys are database, key_file, log, log_format, egress.allow_addresses, egress.allow_hosts, egress.allow_ports, egress.ca_file, egress.source_addresses, egress.seen_from, egress.proxy, engine.max_in_flight, engine.cache_bytes, engine.grace, engine.lease, engine.backlog_limit, alerts.mail, alerts.every, retention.history, retention.excerpts, retention.audit, smtp.host, smtp.port, smtp.tls, smtp.user, smtp.password_file, smtp.from, smtp.ca_file)");
        insta::assert_snapshot!(refused("'egress.ca_file' = 'x'"), @"bad_config: tharsis.toml: line 1: unknown field `egress.ca_file`, expected one of `database`, `key_file`, `log`, `log_format`, `egress`, `engine`, `alerts`, `retention`, `smtp`, `profiles`");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_line() {
        insta::assert_snapshot!(refused("log = 'info'\n[egress]\nallow_ports = ['x']"), @r#"bad_config: tharsis.toml: line 3: invalid type: string "x", expected u16"#);
        insta::assert_snapshot!(refused("log = \n"), @"bad_config: tharsis.toml: line 1: string values must be quoted, expected literal string");
        insta::assert_snapshot!(refused("egress = 3"), @"bad_config: tharsis.toml: line 1: invalid type: integer `3`, expected a table");
        let file = "[egress]\nallow_addresses = ['localhost']";
        let refused = settle(Global::default(), &[], file).unwrap_err();
        insta::assert_snapshot!(refused, @"bad_address_range: egress.allow_addresses: is no range of addresses (write it like 127.0.0.0/8, fd00::/8 or 192.168.1.7)");
    }

    /// The text of a file: it settles, or is refused as wrong usage that names no line which is not there.
    fn configuration(bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let settled = File::parse("tharsis.toml", &text)
            .and_then(|file| Configuration::over(file, &Global::default(), &|_| Ok(None)));
        match settled {
            Ok(settled) => {
                let database = settled.database.expose();
                if database.starts_with("postgres://engine:opensesame@") {
                    assert!(!settled.database.to_string().contains("opensesame"));
                }
            }
            Err(refused) => {
                assert!(!refused.to_string().is_empty());
                let line = refused.fault().message.strip_prefix("line ");
                if let Some((line, _)) = line.and_then(|rest| rest.split_once(':')) {
                    let line: usize = line.parse().unwrap();
                    assert!((1..=text.lines().count() + 1).contains(&line), "{refused}");
                }
            }
        }
    }

    #[test]
    fn fuzz_configuration() {
        crate::fuzz::run(
            "configuration",
            &[
                b"database = 'postgres://engine:opensesame@db/shop'\nkey_file = 'k'\nlog = 'info'\nlog_format = 'json'\n[egress]\nallow_addresses = ['127.0.0.0/8']\nallow_hosts = [\"localhost\"]\nallow_ports = [443, 0x1]\nca_file = 'ca.pem'\n",
                b"[engine]\nmax_in_flight = 8\ncache_bytes = 1_000\ngrace = '10s'\nlease = '15s'\nbacklog_limit = 9\n[retention]\nhistory = '14d'\nexcerpts = 'none'\naudit = '2d'\n",
                b"[alerts]\nmail = ['ops@house.example']\nevery = '2h'\n[alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmail = ['shop@shop.example']\n[smtp]\nhost = 'mail.house.example'\nport = 25\ntls = 'starttls'\nuser = 'u'\npassword_file = 'p'\nfrom = 'tharsis@house.example'\n",
                b"[profiles.acme]\nsignature_header = 'X-Acme'\nsigned = 'timestamp.body'\nalgorithm = 'hmac-sha512'\ndigest = 'base64'\nseparator = ','\nheaders = { X-Id = '{id}' }\ntimeout = '10s'\nevents = ['order']\n[profiles.form]\nencoding = 'form'\nbatch_items = 100\nlinger = '1s'\n",
            ],
            configuration,
        );
    }
}
