//! Both databases behave as the model of the outbox does, on which the simulation of `tharsis-dispatch` proves the engine.
//!
//! A story is a list of commands, drawn at random: publishing, what people ask for, what workers do, and what happens to
//! them. Each command is carried out on a database and on the model; the answers are compared, and after each of them all
//! that can be seen. A story that fails is made as short as it can be, and told.
//!
//! `MODEL_STORIES=2000 cargo nextest run -p tharsis-store --test model` tells more of them than usual on each database,
//! and `MODEL_SEED=…`, which a failure names, the same ones again.

mod answer;
mod command;
mod database;
#[path = "../contract/harness.rs"]
#[expect(dead_code, reason = "the stories of the contract use the rest")]
mod harness;
#[path = "../contract/schema.rs"]
mod schema;
mod seen;
mod story;

use std::{cell::RefCell, fmt::Write as _};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::{
    command::{Command, commands},
    database::{Database, Postgres, Sqlite},
    story::Story,
};

#[test]
fn sqlite_behaves_as_the_model_does() {
    tell::<Sqlite>(200);
}

#[test]
fn postgres_behaves_as_the_model_does() {
    tell::<Postgres>(30);
}

fn tell<D: Database>(stories: u32) {
    let seed = number("MODEL_SEED").unwrap_or_else(|| {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("random bytes");
        u64::from_ne_bytes(seed)
    });
    let cases = number("MODEL_STORIES").map_or(stories, |n| u32::try_from(n).expect("fewer"));
    let config = Config {
        cases,
        max_shrink_iters: 5_000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let database = RefCell::new(runtime.block_on(D::new()));
    let told = TestRunner::new_with_rng(config, rng).run(&commands(), |commands| {
        runtime
            .block_on(Story::tell(&mut *database.borrow_mut(), &commands))
            .map_err(TestCaseError::fail)
    });
    match told {
        Ok(()) => {}
        Err(TestError::Fail(why, commands)) => panic!(
            "{why}\nin the story\n{}tell it again with MODEL_SEED={seed}",
            lines(&commands)
        ),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn lines(commands: &[Command]) -> String {
    commands.iter().fold(String::new(), |mut text, command| {
        let _ = writeln!(text, "  {command:?}");
        text
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}
