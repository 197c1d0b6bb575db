//! `[observe]`: where figures are told, and what is no longer as it should be.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::span;
use crate::output::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct ObserveTable {
    /// As `127.0.0.1:9464`.
    listen: Option<String>,
    /// As `5m`.
    overdue: Option<String>,
}

/// How a process lets itself be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observe {
    /// Where figures are told, if anywhere.
    pub(crate) listen: Option<SocketAddr>,
    /// How long something may be due.
    pub(crate) overdue: Duration,
}

impl ObserveTable {
    pub(super) fn observe(
        self,
        variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    ) -> Result<Observe, Failure> {
        let set = |name: &'static str, file: Option<String>, key: &'static str| {
            Ok::<_, Failure>(match variable(name)? {
                Some(text) => (Some(text), name),
                None => (file, key),
            })
        };
        let (listen, place) = set("THARSIS_OBSERVE_LISTEN", self.listen, "observe.listen")?;
        let listen = listen.map(|text| {
            text.parse::<SocketAddr>().map_err(|_| {
                Failure::usage("bad_address", "is no address with a port")
                    .at(place)
                    .hint("write it like 127.0.0.1:9464")
            })
        });
        let (overdue, place) = set("THARSIS_OBSERVE_OVERDUE", self.overdue, "observe.overdue")?;
        Ok(Observe {
            listen: listen.transpose()?,
            overdue: span(overdue.as_deref(), place)?.unwrap_or(tharsis_admin::OVERDUE),
        })
    }
}
