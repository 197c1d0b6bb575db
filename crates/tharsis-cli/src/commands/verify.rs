//! `tharsis verify`: is this request what the sender signed? Offline.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use tharsis::{profile::Profile, signer};

use super::{Context, profile, secret};
use crate::output::{Exit, Failure};

/// Verify the signature of a request that was received
///
/// Nothing is opened and nothing is sent: the profile, the secret, the header and the exact bytes of the body are all
/// it takes. Says ok, or what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis verify --secret-file shop.secret --body body.json \\
      --header 'X-Mars-Signature: sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9'
  tharsis listen | jq -jn 'first(inputs | select(.method == \"POST\")).body' > body.json
                                                  The first body's bytes, without a line break added")]
pub(crate) struct Options {
    /// The contract on the wire
    #[arg(long, value_name = "PROFILE", default_value = "mars", value_parser = profile)]
    profile: &'static Profile,

    /// The file that holds the secret
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,

    /// A header as it came, `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, String)>,

    /// The file that holds the body as it came, or - for standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
}

pub(crate) fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let secret = secret::from_file(&options.secret_file)?;
    let body = read(&options.body)?;
    let signature = options.profile.signature.as_ref().ok_or_else(|| {
        Failure::new(
            "nothing_to_verify",
            format!("the profile {} signs nothing", options.profile.name),
        )
    })?;
    let header = options
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(signature.header));
    signer::verify(
        options.profile,
        Some(&secret),
        header.map(|(_, value)| value.as_bytes()),
        &body,
    )
    .map_err(|rejected| {
        let failure = Failure::new(rejected.code(), rejected.to_string());
        match (rejected, rejected.hint()) {
            (signer::Rejected::NoHeader, _) => {
                failure.hint(format!("give it with --header '{}: …'", signature.header))
            }
            (_, Some(hint)) => failure.hint(hint),
            (_, None) => failure,
        }
    })?;
    if context.output.json {
        #[derive(Serialize)]
        struct Document {
            verified: bool,
        }
        context.output.document(&Document { verified: true })?;
    } else {
        context.output.line("ok")?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        let mut body = Vec::new();
        io::stdin().lock().read_to_end(&mut body).map(|_| body)
    } else {
        fs::read(path)
    };
    read.map_err(|error| {
        Failure::new("body_unreadable", format!("cannot be read: {error}"))
            .at(path.display().to_string())
    })
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written `Name: value`")?;
    // White space around a value is no part of it (RFC 9110, section 5.5).
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
