//! The measurements that the documentation quotes, printed as JSON.
//!
//! Every scenario runs beside its yardstick: a bare loop that signs and POSTs with the same client to the same
//! receiver, in the same run. Quote the ratios; the absolute figures are this machine's.

mod bare;
mod drain;
mod latency;
mod payload;
mod publish;
mod receive;
mod report;
mod world;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tharsis on this machine and prints JSON.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  tharsis-bench --scenario drain --events 100000 --runs 5"
)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Scenario::Drain)]
    scenario: Scenario,
    /// Events in the backlog, or published.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Bytes of an event's payload, about.
    #[arg(long, default_value_t = 1_200)]
    bytes: usize,
    /// Requests under way at once, of the bare loop and of the subscription alike.
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// How often to measure; the medians are of these.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scenario {
    /// Deliver a published backlog to one subscription, beside the bare loop.
    Drain,
    /// Publish in batches, and one event a commit.
    Publish,
    /// From publish to receipt at 50 events a second, in one process.
    Latency,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The receiver, in a process of its own: prints its port, counts, ends with its standard input.
    #[command(hide = true)]
    Receive {
        /// Where its CA goes.
        #[arg(long)]
        ca_out: PathBuf,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Receive { ca_out }) = &arguments.role {
        return receive::run(ca_out).await;
    }
    let plan = world::Plan {
        events: arguments.events,
        bytes: arguments.bytes,
        in_flight: arguments.in_flight,
        runs: arguments.runs.max(1),
    };
    let report = match arguments.scenario {
        Scenario::Drain => drain::measure(&plan).await?,
        Scenario::Publish => publish::measure(&plan).await?,
        Scenario::Latency => latency::measure(&plan).await?,
    };
    report::print(&plan, &report)
}
