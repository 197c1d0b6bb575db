//! What a worker holds in memory while a thousand receivers do to it what they can.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tharsis::{Registry, subscription::Credentials, system_now};
use tharsis_receiver::{Answer, Authority, Fault, FaultServer, Options, Receiver, Sink, Then};

use crate::{
    memory, payload,
    report::{median, round},
    role::{Role, asked, say},
    work,
    world::{Outside, Plan},
};

/// Subscriptions, each with one request under way.
const RECEIVERS: usize = 1_000;

/// Ports that they listen on.
const PORTS: usize = 20;

/// Deliveries of each.
const ROUNDS: usize = 5;

/// What the worker must stay under, in millions of bytes, whatever the bodies.
const BOUND: f64 = 150.0;

/// How often the worker's connections are counted.
const EVERY: Duration = Duration::from_millis(100);

/// When a worker that is not done is given up.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where nothing is ever delivered it is watched for so long: each has had its first attempt then, and half a minute is
/// what the next one waits.
const WATCH: Duration = Duration::from_secs(20);

/// How they behave.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Manners {
    /// They answer 200 after a second.
    Well,
    /// They answer 200, and then a body without an end: half of them as fast as it goes, half one byte at a time.
    Bodies,
    /// They answer 64 KiB of fields, and never come to the body.
    Heads,
}

/// The receivers, in a process of their own.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[arg(long)]
    ca_out: PathBuf,
    #[arg(long, value_enum)]
    manners: Manners,
}

/// Serves until standard input ends. Says its ports.
pub(crate) async fn run(receive: Receive) -> anyhow::Result<()> {
    let authority = Authority::generate()?;
    std::fs::write(&receive.ca_out, authority.pem())?;
    let (mut servers, mut receivers, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..PORTS {
        let Some(fault) = receive.manners.fault(n) else {
            let answer = Answer {
                delay: Duration::from_secs(1),
                ..Answer::default()
            };
            let receiver = Receiver::bind(Options {
                sink: Sink::Count,
                answer,
                ..Options::new(&authority)
            })
            .await?;
            ports.push(receiver.addr().port().to_string());
            receivers.push(receiver);
            continue;
        };
        let server = FaultServer::bind(&authority, fault).await?;
        ports.push(server.addr().port().to_string());
        servers.push(server);
    }
    say(ports.join(","))?;
    while asked().await?.is_some() {}
    Ok(())
}

impl Manners {
    /// What the server on the port of this number does.
    fn fault(self, n: usize) -> Option<Fault> {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        let endless = [head, &b"Content-Length: 1000000000000\r\n\r\n"[..]].concat();
        match self {
            Self::Well => None,
            Self::Bodies if n.is_multiple_of(2) => Some(Fault::Flood {
                head: endless,
                chunk: vec![b'x'; 16_384],
            }),
            Self::Bodies => Some(Fault::Drip {
                head: endless,
                bytes: b"x".to_vec(),
                every: Duration::from_millis(10),
            }),
            Self::Heads => {
                let field = format!("X-Much: {}\r\n", "x".repeat(1_014));
                let answer = [head, field.repeat(64).as_bytes()].concat();
                Some(Fault::Answer(answer, Then::Hang))
            }
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The same events to the same number of receivers, of each kind of manners, and whether endless bodies kept within the
/// bound.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<(Value, bool)> {
    let mut kinds = Vec::new();
    let mut is_within = true;
    for manners in [Manners::Well, Manners::Bodies, Manners::Heads] {
        let (mut runs, mut peaks) = (Vec::new(), Vec::new());
        for _ in 0..plan.runs {
            let run = once(plan, manners).await?;
            peaks.push(run["peak_mb"].as_f64().context("it is a number")?);
            runs.push(run);
        }
        let most = peaks.iter().copied().fold(0.0, f64::max);
        if matches!(manners, Manners::Bodies) {
            is_within = most <= BOUND;
        }
        kinds.push(json!({
            "receivers": manners.name(),
            "runs": runs,
            "most_mb": most,
            "median_mb": median(peaks),
            "within_bound": most <= BOUND,
        }));
    }
    let report = json!({
        "scenario": "hostile",
        "database": plan.database.name(),
        "subscriptions": RECEIVERS,
        "deliveries": RECEIVERS * ROUNDS,
        "bound_mb": BOUND,
        "kinds": kinds,
    });
    Ok((report, is_within))
}

async fn once(plan: &Plan, manners: Manners) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let ca_file = folder.path().join("ca.pem");
    let (_receivers, ports) = start(&ca_file, manners).await?;
    let outside = Outside::new(&plan.database, folder, ca_file, ports[0]).await?;
    let emitter = outside.emitter(&ports).await?;
    for (n, port) in (0..RECEIVERS).zip(ports.iter().cycle()) {
        let settings = outside.settings(&payload::client(n), "hostile", *port, 1)?;
        emitter
            .registry()
            .add(&settings, &Credentials::default(), system_now())
            .await?;
    }
    let mut events = Vec::with_capacity(RECEIVERS);
    for round in 0..ROUNDS {
        for n in 0..RECEIVERS {
            let number = round * RECEIVERS + n;
            events.push(payload::event_of(&payload::client(n), number, plan.bytes)?);
        }
        for published in emitter.publish_all(&events).await? {
            published?;
        }
        events.clear();
    }

    let began = Instant::now();
    let worker = work::start_reaching(&outside, RECEIVERS, &ports).await?;
    let process = worker.process()?;
    let mut connections = 0;
    let remaining = loop {
        tokio::time::sleep(EVERY).await;
        connections = connections.max(sockets(process)?);
        let remaining = emitter.remaining().await?;
        if remaining.unrouted + remaining.pending == 0 {
            break remaining;
        }
        if matches!(manners, Manners::Heads) && began.elapsed() > WATCH {
            break remaining;
        }
        ensure!(began.elapsed() < PATIENCE, "{} are left", remaining.pending);
    };
    let took = began.elapsed();
    let peak = memory::peak(process)?;
    let delivered: usize = worker.end().await?.parse().context("it says a number")?;
    Ok(json!({
        "peak_mb": round(peak),
        "connections": connections,
        "delivered": delivered,
        "left": remaining.pending + remaining.held,
        "seconds": round(took.as_secs_f64()),
    }))
}

/// Starts this program again in the role of the receivers.
async fn start(ca_out: &Path, manners: Manners) -> anyhow::Result<(Role, Vec<u16>)> {
    let mut role = Role::start([
        "receive-hostile".into(),
        "--ca-out".into(),
        ca_out.into(),
        "--manners".into(),
        manners.name().into(),
    ])?;
    let ports = role.hear().await?;
    let ports: Result<Vec<u16>, _> = ports.split(',').map(str::parse).collect();
    let ports = ports.context("the receivers did not say their ports")?;
    ensure!(
        ports.len() == PORTS,
        "the receivers did not say their ports"
    );
    Ok((role, ports))
}

/// How many sockets a process has open (proc(5)).
fn sockets(process: u32) -> anyhow::Result<usize> {
    let entries =
        std::fs::read_dir(format!("/proc/{process}/fd")).context("only Linux says what is open")?;
    Ok((entries.flatten())
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count())
}
