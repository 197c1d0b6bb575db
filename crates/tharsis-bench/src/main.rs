//! The measurements that the documentation quotes, printed as JSON.
//!
//! What is compared runs in the same run, in turn which comes first: drain and stream beside a bare loop that signs and
//! POSTs with the same client to the same receiver, the others with and without what they are about. Quote the ratios;
//! the absolute figures are this machine's. On PostgreSQL statements are counted where the server has
//! `pg_stat_statements`, and with the WAL they are the whole server's: let nothing else work on it.

mod bare;
mod beside;
mod browser;
mod database;
mod dead;
mod drain;
mod filling;
mod hostile;
mod http;
mod latency;
mod lists;
mod memory;
mod neighbours;
mod pages;
mod payload;
mod publish;
mod receive;
mod replay;
mod report;
mod role;
mod soak;
mod stream;
mod work;
mod workers;
mod world;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tharsis on this machine and prints JSON.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  tharsis-bench --scenario drain --events 100000 --runs 5
  tharsis-bench --scenario stream --database postgres://localhost/test
  tharsis-bench --scenario drain --fan-out 10 --events 10000
  tharsis-bench --scenario workers --database postgres://localhost/test"
)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Scenario::Drain)]
    scenario: Scenario,
    /// `sqlite`, or the URL of a PostgreSQL database, in which each run makes a schema of its own and drops it.
    #[arg(long, default_value = "sqlite")]
    database: database::Database,
    /// Events in the backlog, or published.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Bytes of an event's payload, about.
    #[arg(long, default_value_t = 1_200)]
    bytes: usize,
    /// Requests under way at once, of the bare loop and of the subscription alike.
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// Subscriptions that get each event.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    fan_out: u16,
    /// Deliveries of one request, in a form; the bare loop sends one a request in any case.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// What the subscriptions filter by. It must be true of all events: `event.predictions.exists(p, p.discount > 20)`.
    #[arg(long)]
    filter: Option<String>,
    /// Which deliveries go one after the other: `recipient`, of which there are 10,000 in turn, `key:PATH` or `strict`.
    #[arg(long)]
    order: Option<String>,
    /// Deliveries of the dead subscription, or of the backlog that memory is measured with.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: usize,
    /// Attempts in the history that is listed, or deliveries in the one that pages show.
    #[arg(long, default_value_t = 1_000_000)]
    attempts: u64,
    /// How long the soak takes.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// The rate of the replay: `2000/s`; without it as fast as it goes.
    #[arg(long)]
    rate: Option<tharsis::rate::Rate>,
    /// How often to measure; the medians are of these.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scenario {
    /// Deliver a published backlog, beside the bare loop.
    Drain,
    /// Publish in batches and deliver at once, beside the bare loop.
    Stream,
    /// Publish in batches, and one event a commit.
    Publish,
    /// Publish over HTTP, one event a request, with and without delivery.
    Http,
    /// From publish to receipt at 50 events a second, in one process and across two.
    Latency,
    /// A publish by each of eight processes beside a draining run.
    Neighbours,
    /// Three workers to one, with receivers that take 50 ms; PostgreSQL only.
    Workers,
    /// A healthy subscription beside one with a million deliveries whose receiver never answers.
    Dead,
    /// 200 subscriptions, of which a fifth are in trouble, for --minutes; Linux only.
    Soak,
    /// A replay of --events at --rate whose worker is killed five times, beside live traffic.
    Replay,
    /// Lists and `why` in a history of --attempts.
    Lists,
    /// The dashboard's pages with --attempts deliveries of a day; fails above 200 ms or 100,000 bytes.
    Pages,
    /// What a worker holds in memory while it delivers a backlog of a million; Linux only.
    Memory,
    /// What a worker holds in memory beside 1,000 receivers whose answers have no end; fails above 150 MB; Linux only.
    Hostile,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The receiver, in a process of its own: prints its port, counts, ends with its standard input.
    #[command(hide = true)]
    Receive {
        /// Where its CA goes.
        #[arg(long)]
        ca_out: PathBuf,
        /// How long it takes to answer.
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
    },
    /// Receivers with bad manners, in a process of their own.
    #[command(hide = true)]
    ReceiveHostile(hostile::Receive),
    /// A worker, in a process of its own.
    #[command(hide = true)]
    Work(work::Work),
    /// The API, in a process of its own.
    #[command(hide = true)]
    Serve(http::Serve),
    /// Somebody who publishes, in a process of its own.
    #[command(hide = true)]
    PublishBeside(neighbours::Neighbour),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Receive { ca_out, delay_ms }) => {
            return receive::run(&ca_out, Duration::from_millis(delay_ms)).await;
        }
        Some(Role::ReceiveHostile(receive)) => return hostile::run(receive).await,
        Some(Role::Work(work)) => return work::run(work).await,
        Some(Role::Serve(serve)) => return http::run(serve).await,
        Some(Role::PublishBeside(neighbour)) => return neighbours::run(neighbour).await,
        None => {}
    }
    let is_plain = arguments.batch == 1 && arguments.filter.is_none() && arguments.order.is_none();
    anyhow::ensure!(
        is_plain || matches!(arguments.scenario, Scenario::Drain | Scenario::Stream),
        "--batch, --filter and --order are for drain and stream"
    );
    let plan = world::Plan {
        database: arguments.database,
        events: arguments.events,
        bytes: arguments.bytes,
        in_flight: arguments.in_flight,
        fan_out: arguments.fan_out.into(),
        batch: arguments.batch,
        filter: arguments.filter,
        order: arguments.order,
        runs: arguments.runs.max(1),
    };
    let mut is_within = true;
    let report = match arguments.scenario {
        Scenario::Drain => drain::measure(&plan).await?,
        Scenario::Stream => stream::measure(&plan).await?,
        Scenario::Publish => publish::measure(&plan).await?,
        Scenario::Http => http::measure(&plan).await?,
        Scenario::Latency => latency::measure(&plan).await?,
        Scenario::Neighbours => neighbours::measure(&plan).await?,
        Scenario::Workers => workers::measure(&plan).await?,
        Scenario::Dead => dead::measure(&plan, arguments.backlog).await?,
        Scenario::Soak => soak::measure(&plan, arguments.minutes).await?,
        Scenario::Replay => replay::measure(&plan, arguments.rate).await?,
        Scenario::Lists => lists::measure(&plan, arguments.attempts).await?,
        Scenario::Pages => {
            let report;
            (report, is_within) = pages::measure(&plan, arguments.attempts).await?;
            report
        }
        Scenario::Memory => memory::measure(&plan, arguments.backlog).await?,
        Scenario::Hostile => {
            let report;
            (report, is_within) = hostile::measure(&plan).await?;
            report
        }
    };
    report::print(&plan, &report)?;
    anyhow::ensure!(is_within, "a bound was not kept: see within_bound");
    Ok(())
}
