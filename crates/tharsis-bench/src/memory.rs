//! What a worker of its own holds in memory while it delivers a long backlog.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    report::{median, round},
    work,
    world::{self, Plan},
};

/// How often the receiver is asked whether it has all: seldom, for asking takes from what is measured.
const EVERY: Duration = Duration::from_millis(500);

/// When a worker that delivers nothing any more is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that was resident at any moment, from the worker's start until the backlog's last delivery.
pub(crate) async fn measure(plan: &Plan, backlog: usize) -> anyhow::Result<Value> {
    let (mut runs, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        let (outside, mut receiver) = world::received(plan, Duration::ZERO).await?;
        let (emitter, ..) = outside.subscribed(plan, &[]).await?;
        world::publish(&emitter, 0..backlog, plan.bytes, 1_000).await?;
        let all = (backlog * plan.fan_out) as u64;

        let began = Instant::now();
        let worker = work::start(&outside, 256).await?;
        let (mut received, mut grew) = (0, Instant::now());
        while received < all {
            tokio::time::sleep(EVERY).await;
            let now = receiver.count().await?;
            if now > received {
                (received, grew) = (now, Instant::now());
            }
            ensure!(grew.elapsed() < PATIENCE, "{received} of {all} arrived");
        }
        let took = began.elapsed();
        let peak = peak(worker.process()?)?;
        worker.end().await?;
        runs.push(json!({
            "peak_mb": round(peak),
            "drain_per_s": Plan::per_second(backlog * plan.fan_out, took).round(),
        }));
        peaks.push(peak);
    }
    Ok(json!({
        "scenario": "memory",
        "database": plan.database.name(),
        "backlog": backlog,
        "runs": runs,
        "median": { "peak_mb": round(median(peaks)) },
    }))
}

/// The most of a running process that was ever resident, in millions of bytes (`VmHWM` of proc(5)).
pub(crate) fn peak(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .context("only Linux says what was resident")?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
        .context("the system does not say what was resident")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1_024.0 / 1_000_000.0)
}
