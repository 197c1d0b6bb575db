//! `tharsis egress`: which way requests go out, and what they may reach.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::dispatch::Proxy;

use super::Context;
use crate::{
    configuration::Configuration,
    output::{Exit, Failure, text::inert},
};

/// See where requests come from and what they may reach
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  tharsis egress show")]
pub(crate) enum Command {
    Show(Show),
}

/// Show where requests come from, for the allow-lists of receivers, and what they may reach
///
/// What receivers see is `egress.seen_from`, else the source addresses. Neither is found out: where addresses are
/// translated on the way, only the operator knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis egress show
  tharsis egress show --json | jq -r '.seen_from[]'")]
pub(crate) struct Show {}

pub(crate) fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    let Command::Show(Show {}) = command;
    let output = context.output;
    let shown = Document::of(&context.configuration);
    if output.json {
        output.document(&shown)?;
    } else {
        output.line(shown.for_people().trim_end())?;
    }
    Ok(Exit::Done)
}

/// For whom receivers are to open, in a few words; `None` where that is not known.
pub(super) fn seen_from(configuration: &Configuration) -> Option<String> {
    let ranges = written(&configuration.seen_from);
    (!ranges.is_empty()).then(|| ranges.join(", "))
}

#[derive(Debug, Serialize)]
struct Document {
    /// What receivers are to let in; empty where it is not known.
    seen_from: Vec<String>,
    source_addresses: Vec<String>,
    proxy: Option<String>,
    ca_file: Option<String>,
    allow_ports: Vec<u16>,
    allow_hosts: Vec<String>,
    allow_addresses: Vec<String>,
}

impl Document {
    fn of(configuration: &Configuration) -> Self {
        let egress = &configuration.egress;
        let mut allow_ports = egress.allow_ports.clone();
        allow_ports.sort_unstable();
        allow_ports.dedup();
        Self {
            seen_from: written(&configuration.seen_from),
            source_addresses: written(&configuration.source_addresses),
            proxy: configuration.proxy.as_ref().map(Proxy::to_string),
            ca_file: (configuration.ca_file.as_ref()).map(|file| file.display().to_string()),
            allow_ports,
            allow_hosts: egress.allow_hosts.clone(),
            allow_addresses: written(&egress.allow_addresses),
        }
    }

    fn for_people(&self) -> String {
        let or = |list: &[String], none: &str| {
            if list.is_empty() {
                none.to_owned()
            } else {
                list.join(", ")
            }
        };
        let through = self.proxy.as_deref();
        let trusted = self.ca_file.as_deref();
        let rows = [
            (
                "Receivers see",
                or(
                    &self.seen_from,
                    "not known: name it ([egress] seen_from), once this machine has fixed addresses",
                ),
            ),
            (
                "Sent from",
                or(&self.source_addresses, "the address that the system takes"),
            ),
            (
                "Through",
                through.map_or("no proxy".to_owned(), |proxy| {
                    format!("{proxy}, which looks names up and judges their addresses")
                }),
            ),
            ("Ports", {
                let ports: Vec<String> = self.allow_ports.iter().map(u16::to_string).collect();
                or(&ports, "none")
            }),
            ("Hosts", or(&self.allow_hosts, "public names only")),
            (
                "Addresses",
                match (&*self.allow_addresses, through) {
                    ([], Some(_)) => "as the proxy has it".to_owned(),
                    ([], None) => "public ones only".to_owned(),
                    (opened, _) => format!("public ones, and {}", opened.join(", ")),
                },
            ),
            (
                "Trusted",
                trusted.map_or("the system's authorities".to_owned(), |file| {
                    format!("the system's authorities, and those in {file}")
                }),
            ),
        ];
        let lines = rows.map(|(what, is)| format!("{what:<15}{}\n", inert(&is)));
        lines.concat()
    }
}

/// A range of one address as that address.
pub(super) fn written<T: ToString>(ranges: &[T]) -> Vec<String> {
    ranges
        .iter()
        .map(|range| {
            let text = range.to_string();
            let one = text
                .strip_suffix("/32")
                .or_else(|| text.strip_suffix("/128"));
            one.map_or(text.clone(), str::to_owned)
        })
        .collect()
}
