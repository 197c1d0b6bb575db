use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Clock, Running, World, program, wait_until, world::FAILPOINT};

/// A process that publishes (`src/bin/publisher.rs`), and its journal.
#[derive(Debug)]
pub struct Publisher {
    /// The process.
    pub process: Running,
    /// What it wrote down.
    pub journal: Journal,
}

/// What a publisher wrote down.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

impl Publisher {
    /// Starts one of this kind (`mixed`, `stubborn`, `together`, `held`, `timed:N`) on behalf of these.
    #[track_caller]
    pub fn start(world: &World, how: &str, clients: &[impl AsRef<str>]) -> Self {
        Self::start_armed(world, "", how, clients)
    }

    /// The same, with what is armed there: see `tharsis::store::failpoint`.
    #[track_caller]
    pub fn start_armed(
        world: &World,
        settings: &str,
        how: &str,
        clients: &[impl AsRef<str>],
    ) -> Self {
        Self::start_at(world, Clock::default(), settings, how, clients)
    }

    /// The same on a host with this clock.
    #[track_caller]
    pub fn start_at(
        world: &World,
        clock: Clock,
        settings: &str,
        how: &str,
        clients: &[impl AsRef<str>],
    ) -> Self {
        let seed = world.random().u64(..);
        let journal = world.path(&format!("journal-{seed:016x}"));
        let clients: Vec<&str> = clients.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(program::beside("publisher"));
        command
            .args([how, &world.database_url(), &clients.join(",")])
            .arg(seed.to_string())
            .arg(&journal)
            .env(FAILPOINT, settings);
        clock.set(&mut command);
        Self {
            process: world.spawn_other(command),
            journal: Journal(journal),
        }
    }

    /// Waits until its journal has a step of this kind.
    #[track_caller]
    pub fn wait_until_it(&mut self, step: &str) {
        let (process, journal) = (&mut self.process, &self.journal);
        wait_until(
            &format!("a publisher {step}"),
            Duration::from_secs(30),
            || {
                let found = !journal.steps(step).is_empty();
                assert!(
                    found || process.is_alive(),
                    "it ended: {}",
                    process.stderr()
                );
                found.then_some(())
            },
        );
    }

    /// Asks it to stop after what it does, and waits until it has.
    #[track_caller]
    pub fn stop(self) -> Journal {
        fs::write(self.journal.0.with_extension("stop"), "").expect("the folder can be written");
        self.process.finish(Duration::from_secs(30)).ok();
        self.journal
    }
}

impl Journal {
    /// What it wrote down under this step, in order. A step that a `kill -9` cut short counts as not taken.
    pub fn steps(&self, step: &str) -> Vec<String> {
        read(&self.0)
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .filter_map(|line| line.strip_prefix(step)?.strip_prefix(' '))
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// There is none before the first step.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
