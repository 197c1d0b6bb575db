//! `[engine]` and `[retention]`: how it is delivered, and for how long it is kept.

use std::time::Duration;

use serde::Deserialize;
use tharsis::{EngineOptions, store::Retention};

use super::span;
use crate::output::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct EngineTable {
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
pub(super) struct RetentionTable {
    history: Option<String>,
    excerpts: Option<String>,
    audit: Option<String>,
}

impl EngineTable {
    pub(super) fn options(&self) -> Result<EngineOptions, Failure> {
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

    pub(super) fn lease(&self) -> Result<Option<Duration>, Failure> {
        span(self.lease.as_deref(), "engine.lease")
    }
}

impl RetentionTable {
    pub(super) fn retention(&self) -> Result<Retention, Failure> {
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
