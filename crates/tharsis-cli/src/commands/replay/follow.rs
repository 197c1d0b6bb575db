//! Watching a replay.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use tharsis::{
    Registry,
    store::{Replay, ReplayState},
};

use crate::{
    commands::documents::ReplayDocument,
    output::{
        Exit, Failure, Output,
        text::{age, count, counted},
    },
    signals,
};

/// How often the replay is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Why nobody watches a replay any more.
enum Ended {
    Over,
    NoOwner,
    Held,
    Interrupted,
}

/// Waits for the owner to work the replay off, if there is one, and tells what came of it.
pub(in crate::commands) async fn follow(
    output: Output,
    registry: &impl Registry,
    replay: Replay,
    wait: bool,
) -> Result<Exit, Failure> {
    let (replay, ended) = watch(output, registry, replay, wait).await?;
    let id = replay.id;
    if output.json {
        output.document(&ReplayDocument::from(&replay))?;
        return Ok(Exit::Done);
    }
    match ended {
        Ended::Over => output.line(format_args!(
            "Replay {id} is {}: {} due again, {} skipped.",
            replay.state.as_str(),
            counted(replay.replayed, "delivery is", "deliveries are"),
            count(replay.skipped),
        ))?,
        Ended::NoOwner => output.line(format_args!(
            "Replay {id} is written down and waits: nothing delivers at present. Start `tharsis run`, and look with `tharsis replay show {id}`."
        ))?,
        Ended::Held => output.line(format_args!(
            "Replay {id} is held for now, after {} due again. Look why with `tharsis replay show {id}`.",
            counted(replay.replayed, "delivery", "deliveries"),
        ))?,
        Ended::Interrupted => output.line(format_args!(
            "Replay {id} goes on without us. Look with `tharsis replay show {id}`, call it off with `tharsis replay cancel {id}`."
        ))?,
    }
    Ok(Exit::Done)
}

/// Waits as [`follow`] does, and tells nothing but how far it is. Returns how far it came.
pub(in crate::commands) async fn settled(
    output: Output,
    registry: &impl Registry,
    replay: Replay,
    wait: bool,
) -> Result<Replay, Failure> {
    Ok(watch(output, registry, replay, wait).await?.0)
}

async fn watch(
    output: Output,
    registry: &impl Registry,
    replay: Replay,
    wait: bool,
) -> Result<(Replay, Ended), Failure> {
    let shutdown = signals::shutdown()?;
    let (id, began) = (replay.id, Instant::now());
    let replay = RefCell::new(replay);
    let watch = async {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let now = registry.replay_state(id).await?;
            let is_held = now.state == ReplayState::Paused || now.is_held;
            let is_over = now.state.is_over();
            replay.replace(now);
            if is_over {
                return Ok::<_, Failure>(Ended::Over);
            }
            if !wait && is_held {
                return Ok(Ended::Held);
            }
            if !wait && !registry.owned().await? {
                return Ok(Ended::NoOwner);
            }
        }
    };
    let work = async {
        tokio::select! {
            ended = watch => ended,
            () = shutdown => Ok(Ended::Interrupted),
        }
    };
    let ended = output
        .progress()
        .during(work, || live(&replay.borrow(), began.elapsed()))
        .await?;
    Ok((replay.into_inner(), ended))
}

/// How far it is, how fast it goes and how long it still takes, watched for so long from its beginning on.
fn live(replay: &Replay, watched: Duration) -> String {
    const BAR: u64 = 20;
    match replay.state {
        ReplayState::Waiting => return "Waiting for the process that delivers".to_owned(),
        ReplayState::Paused => return "Paused".to_owned(),
        _ => {}
    }
    let mut told = String::new();
    let per_second = replay.replayed as f64 / watched.as_secs_f64().max(0.001);
    if let Some(expected) = replay.expected.filter(|expected| *expected > 0) {
        let done = replay.examined.min(expected);
        let full = usize::try_from(done * BAR / expected).unwrap_or_default();
        let bar = "#".repeat(full) + &"-".repeat(BAR as usize - full);
        told = format!("[{bar}] {} of {}   ", count(done), count(expected));
    }
    told += &format!(
        "{} due again   {} skipped   {:.0}/s",
        count(replay.replayed),
        count(replay.skipped),
        per_second
    );
    let left = (replay.expected.unwrap_or_default()).saturating_sub(replay.examined);
    if left > 0 && per_second > 0.0 {
        let left = Duration::try_from_secs_f64(left as f64 / per_second).unwrap_or(Duration::MAX);
        told += &format!("   {} left", age(left));
    }
    told
}

#[cfg(test)]
mod tests {
    use tharsis::{ReplayId, Timestamp, store::ReplayKey};

    use super::*;

    #[test]
    fn it_says_how_far_how_fast_and_how_long() {
        let mut replay = Replay {
            id: ReplayId::new(Timestamp::default(), [7; 10]),
            client: None,
            key: ReplayKey::Same,
            rate: None,
            state: ReplayState::Running,
            expected: Some(20_000),
            examined: 5_000,
            replayed: 4_990,
            skipped: 10,
            unfinished: 120,
            held_for: Vec::new(),
            is_held: false,
            created_at: Timestamp::default(),
            finished_at: None,
        };
        let watched = Duration::from_secs(10);
        insta::assert_snapshot!(live(&replay, watched), @"[#####---------------] 5,000 of 20,000   4,990 due again   10 skipped   499/s   30s left");
        replay.expected = None;
        insta::assert_snapshot!(live(&replay, watched), @"4,990 due again   10 skipped   499/s");
        replay.expected = Some(100);
        insta::assert_snapshot!(live(&replay, watched), @"[####################] 100 of 100   4,990 due again   10 skipped   499/s");
    }
}
