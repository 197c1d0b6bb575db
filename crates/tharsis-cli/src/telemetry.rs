//! Log lines on standard error.

use tracing_subscriber::EnvFilter;

use crate::{
    arguments::LogFormat,
    configuration::Configuration,
    output::{Aside, Failure},
};

/// Starts logging for the rest of the process.
pub(crate) fn start(configuration: &Configuration) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .parse(&configuration.log)
        .map_err(|error| {
            Failure::usage("bad_log_filter", error.to_string())
                .at("--log")
                .hint("try `info`, or `warn,tharsis_dispatch=debug`")
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Aside);
    match configuration.log_format {
        LogFormat::Human => lines.with_ansi(console::colors_enabled_stderr()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
