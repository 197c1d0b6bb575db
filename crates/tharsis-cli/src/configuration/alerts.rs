//! `[alerts]` and `[smtp]`: who is told, and through which mail server.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;
use tharsis::{
    Invalid,
    alert::{Contacts, MailAddress},
};
use tharsis_mail::Security;

use super::span;
use crate::output::Failure;

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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct AlertsTable {
    pub(super) mail: Vec<String>,
    /// As `1h`.
    pub(super) every: Option<String>,
    /// By the client's UUID.
    pub(super) clients: BTreeMap<String, ClientTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct ClientTable {
    pub(super) mail: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct SmtpTable {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) tls: Option<String>,
    pub(super) user: Option<String>,
    /// Relative to the file's own folder, as the other.
    pub(super) password_file: Option<PathBuf>,
    pub(super) from: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
}

impl AlertsTable {
    pub(super) fn contacts(&self) -> Result<Contacts, Failure> {
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
    pub(super) fn settings(self) -> Result<SmtpSettings, Failure> {
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

pub(super) fn addresses(mail: &[String], key: &str) -> Result<Vec<MailAddress>, Failure> {
    let parse = |text: &String| text.parse();
    let parsed: Result<_, Invalid> = mail.iter().map(parse).collect();
    parsed.map_err(|invalid| Failure::from(invalid).at(key).into_usage())
}
