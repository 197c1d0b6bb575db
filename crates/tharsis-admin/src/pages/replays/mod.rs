//! Replays: past deliveries, made due again.

mod new;
mod steer;
mod wanted;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    ClientId, Registry, ReplayId, Timestamp,
    store::{Replay, ReplayState},
    token::Permission,
};

use super::{
    deliveries::abridged,
    fields::{Fact, Input},
    form::Form,
    layout::{self, Frame},
    markup::{Badge, Moment},
    progress::Progress,
    visit::{Path, Visit},
};
use crate::{
    Problem,
    text::{count, counted, moment},
};

pub(crate) use new::{Look, create, form};
pub(crate) use steer::{cancel, pause, resume};

/// Replays of one page, the newest.
const PAGE: usize = 50;

/// So many subscriptions are named for which it holds something back.
const HELD: usize = 20;

#[derive(Template)]
#[template(path = "replays.html")]
struct List {
    frame: Frame,
    /// To choose a client, for whoever sees all of them.
    inputs: Vec<Input>,
    rows: Vec<Row>,
    /// There are older ones.
    is_cut: bool,
    may_add: bool,
    sees_all: bool,
}

/// A replay as the list tells it.
struct Row {
    href: String,
    /// Abridged.
    id: String,
    /// Abridged.
    client: String,
    state: Badge,
    expected: String,
    replayed: String,
    skipped: String,
    unfinished: String,
    asked: Moment,
    finished: Option<Moment>,
}

/// Newest first.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let now = visit.now();
    let client: Option<ClientId> = visit.desk.client(asked.word("client")?)?;
    let replays = visit.desk.registry().replays(client).await?;
    let mut inputs = Vec::new();
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client")
                .hint("its id")
                .after(&asked, None),
        );
    }
    let list = List {
        frame: visit.frame("Replays"),
        inputs,
        rows: (replays.iter().take(PAGE))
            .map(|replay| Row::of(replay, now))
            .collect(),
        is_cut: replays.len() > PAGE,
        may_add: visit.may(Permission::Operate),
        sees_all: visit.sees_all(),
    };
    layout::answer(StatusCode::OK, &list)
}

impl Row {
    fn of(replay: &Replay, now: Timestamp) -> Self {
        Self {
            href: path(replay.id),
            id: abridged(&replay.id.to_string()),
            client: match replay.client {
                Some(client) => abridged(&client.to_string()),
                None => "all".to_owned(),
            },
            state: Badge::of(replay.state.as_str()),
            expected: replay.expected.map_or_else(|| "–".to_owned(), count),
            replayed: count(replay.replayed),
            skipped: count(replay.skipped),
            unfinished: count(replay.unfinished),
            asked: Moment::of(replay.created_at, now),
            finished: replay.finished_at.map(|at| Moment::of(at, now)),
        }
    }
}

#[derive(Template)]
#[template(path = "replay.html")]
struct One {
    frame: Frame,
    state: Badge,
    progress: Progress,
    facts: Vec<Fact>,
    /// What it waits for.
    waits: Vec<&'static str>,
    /// Subscriptions that are held, and whose deliveries it holds back.
    held_for: Vec<String>,
    /// Such as are not shown.
    left_out: usize,
    /// Where it is steered; `None`: it is over, or not theirs to steer.
    steer: Option<String>,
    is_paused: bool,
}

/// How far one is.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let replay = visit.desk.replay(&id).await?;
    let is_owned = visit.desk.registry().owned().await?;
    let is_open = !replay.state.is_over();
    let held_for = replay.held_for.iter();
    let page = One {
        frame: visit.frame("Replay"),
        state: Badge::of(replay.state.as_str()),
        progress: progress(&replay),
        facts: facts(&replay, visit.now()),
        waits: waits(&replay, is_owned),
        held_for: held_for.take(HELD).map(ToString::to_string).collect(),
        left_out: replay.held_for.len().saturating_sub(HELD),
        steer: (is_open && visit.may(Permission::Operate)).then(|| path(replay.id)),
        is_paused: replay.state == ReplayState::Paused,
    };
    layout::answer(StatusCode::OK, &page)
}

/// How much was looked at of what was counted, which is at most so many: one that is done is through all the same.
fn progress(replay: &Replay) -> Progress {
    let of = match replay.expected {
        Some(expected) => format!(" of at most {}", count(expected)),
        None => String::new(),
    };
    let sentence = format!(
        "{}{of} looked at: {} due again, {} skipped, {} on their way.",
        counted(replay.examined, "delivery", "deliveries"),
        count(replay.replayed),
        count(replay.skipped),
        count(replay.unfinished)
    );
    let done = match replay.state {
        ReplayState::Done => u64::MAX,
        _ => replay.examined,
    };
    Progress::of(done, replay.expected, sentence)
}

fn facts(replay: &Replay, now: Timestamp) -> Vec<Fact> {
    let client = replay.client.map(|client| client.to_string());
    let rate = replay.rate.map(|rate| rate.to_string());
    let mut facts = vec![
        Fact::new("Replay", replay.id.to_string()),
        Fact::new("Client", client.unwrap_or_else(|| "all".to_owned())),
        Fact::new("Key", replay.key.as_str()),
        Fact::new(
            "Rate",
            rate.unwrap_or_else(|| "as receivers take it".to_owned()),
        ),
        Fact::new("Asked for", moment(replay.created_at, now)),
    ];
    let ended = match replay.state {
        ReplayState::Cancelled => "Cancelled",
        _ => "Done",
    };
    facts.extend((replay.finished_at).map(|at| Fact::new(ended, moment(at, now))));
    facts
}

/// Why one that is neither over nor paused does not get on.
fn waits(replay: &Replay, is_owned: bool) -> Vec<&'static str> {
    let mut waits = Vec::new();
    if replay.state.is_over() || replay.state == ReplayState::Paused {
        return waits;
    }
    if !is_owned {
        waits.push("Nothing delivers at present: it goes on as soon as something does.");
    }
    if replay.is_held {
        waits.push("All that is left of it is held, or is for later.");
    }
    waits
}

fn path(id: ReplayId) -> String {
    format!("/replays/{id}")
}

#[cfg(test)]
mod tests {
    use tharsis::store::ReplayKey;

    use super::*;

    fn replay(state: ReplayState, expected: Option<u64>) -> Replay {
        Replay {
            id: ReplayId::new(Timestamp::default(), [7; 10]),
            client: None,
            key: ReplayKey::Same,
            rate: None,
            state,
            expected,
            examined: 5_000,
            replayed: 4_990,
            skipped: 10,
            unfinished: 120,
            held_for: Vec::new(),
            is_held: true,
            created_at: Timestamp::default(),
            finished_at: None,
        }
    }

    #[test]
    fn it_says_how_far_it_is() {
        let running = progress(&replay(ReplayState::Running, Some(20_000)));
        assert_eq!((running.done, running.all), (5_000, Some(20_000)));
        assert_eq!(
            running.sentence,
            "5,000 deliveries of at most 20,000 looked at: 4,990 due again, 10 skipped, 120 on their way."
        );
        let unknown = progress(&replay(ReplayState::Running, None));
        assert_eq!(unknown.all, None);
        assert!(unknown.sentence.starts_with("5,000 deliveries looked at: "));
        let done = progress(&replay(ReplayState::Done, Some(20_000)));
        assert_eq!((done.done, done.all), (20_000, Some(20_000)));
    }

    #[test]
    fn one_waits_for_who_delivers_and_for_what_is_held() {
        let waiting = replay(ReplayState::Waiting, None);
        assert_eq!(waits(&waiting, false).len(), 2);
        assert_eq!(waits(&waiting, true).len(), 1);
        for state in [ReplayState::Paused, ReplayState::Done] {
            assert!(waits(&replay(state, None), false).is_empty());
        }
    }
}
