//! `tharsis listen`: a receiver to try webhooks with.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tharsis::{parse_duration, profile::Profile};
use tharsis_receiver::{Answer, Authority, Receiver, Sink, StatusCode, Verify};
use tokio::sync::mpsc;

use super::{Context, profile, secret};
use crate::{
    output::{
        Exit, Failure,
        text::{in_shell, inert},
    },
    signals,
};

/// Receive webhooks on this machine, and print each request as a line of JSON
///
/// An HTTPS server on 127.0.0.1 with a certificate authority of its own. Each line has `at`, `method`, `path`, `headers`,
/// `body` as text, `verified` (true, false, or null without a secret) and `reason`. A HEAD is always answered 200.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis listen
  tharsis listen --port 9443 --secret-file shop.secret
  tharsis listen --fail-first 2                   Answers 503 twice, then 200
  tharsis listen --status 500 --delay 2s          Answers 500, and slowly
  tharsis listen | jq -c 'select(.verified == false)'")]
pub(crate) struct Options {
    /// The port on 127.0.0.1; 0 takes any
    #[arg(long, value_name = "N", default_value_t = 9443)]
    port: u16,

    /// The contract on the wire, to verify by
    #[arg(long, value_name = "PROFILE", default_value = "mars", value_parser = profile)]
    profile: &'static Profile,

    /// The file that holds the secret; without one nothing is verified
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Where the authority's certificate lies, its key beside it in FILE.key; made if it is not there
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca_out: PathBuf,

    /// Answer with this status
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,

    /// Wait so long before each answer
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = parse_duration)]
    delay: Duration,

    /// Fail the first N requests, with 503 or with a --status that is a failure; answer 200 afterwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,
}

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let shutdown = signals::shutdown()?;
    let verify = match &options.secret_file {
        Some(path) => Some(Verify {
            profile: options.profile,
            secret: secret::from_file(path)?,
        }),
        None => None,
    };
    let authority = Authority::load_or_create(&options.ca_out)?;
    let (sender, mut requests) = mpsc::unbounded_channel();
    let receiver = Receiver::bind(tharsis_receiver::Options {
        port: options.port,
        verify,
        answer: options.answer(),
        sink: Sink::Channel(sender),
        ..tharsis_receiver::Options::new(&authority)
    })
    .await?;
    introduce(&options, &receiver)?;

    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            request = requests.recv() => match request {
                Some(request) => context.output.document(&request)?,
                None => break,
            },
        }
    }
    receiver.shutdown().await;
    Ok(Exit::Done)
}

impl Options {
    fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).expect("clap let only 200 to 599 through");
        let mut answer = Answer {
            status,
            delay: self.delay,
            fail_first: self.fail_first,
            ..Answer::default()
        };
        if self.fail_first > 0 && !status.is_success() {
            answer.fail_status = status;
            answer.status = StatusCode::OK;
        }
        answer
    }
}

/// Says where it listens and what to type next. On standard error: standard output carries the requests.
fn introduce(options: &Options, receiver: &Receiver) -> Result<(), Failure> {
    let ca_out = options.ca_out.to_string_lossy();
    let ca = in_shell(&ca_out);
    let egress = format!(
        "--egress-allow-host localhost --egress-allow-address 127.0.0.0/8 --egress-allow-port {} --egress-ca-file {ca}",
        receiver.addr().port()
    );
    let secret = match &options.secret_file {
        Some(path) => format!("--secret-file {}", in_shell(&path.to_string_lossy())),
        None => "--no-secret".to_owned(),
    };
    writeln!(
        io::stderr().lock(),
        "Listening on {url}\nCertificate authority: {ca_out}\nRegister it, and deliver to it, with:\n  \
         tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name listen --url {url} {secret} {egress}\n  \
         tharsis run {egress}",
        url = receiver.url("/"),
        ca_out = inert(&ca_out),
    )?;
    Ok(())
}
