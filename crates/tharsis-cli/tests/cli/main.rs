//! The program as its users meet it, as far as that needs no receiver and no engine.

mod campaign;
mod configuration;
#[path = "../../../tharsis-core/tests/corpus/mod.rs"]
mod corpus;
mod doctor;
mod event_type;
mod help;
mod inputs;
#[path = "../../../tharsis-core/tests/judge/mod.rs"]
mod judge;
mod listen;
mod lists;
mod migrate;
mod outcome;
mod profiles;
mod publish;
mod run;
mod subscription;
mod token;
mod verify;
mod worker;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A folder of its own to run the program in.
struct Desk(TempDir);

/// What a run of the program said.
struct Said {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with an outbox in it.
    fn with_outbox() -> Self {
        let desk = Self::new();
        assert_eq!(desk.run("migrate").code, Some(0));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a line as a shell would split it, quotes aside.
    fn run(&self, line: &str) -> Said {
        self.feed(line, b"")
    }

    /// The same with something on standard input.
    fn feed(&self, line: &str, stdin: &[u8]) -> Said {
        let arguments: Vec<_> = line.split_whitespace().collect();
        self.exec(&arguments, stdin)
    }

    fn exec(&self, arguments: &[&str], stdin: &[u8]) -> Said {
        let mut child = command(self.0.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap().into()
    }
}

/// The program in this folder, with nothing of our own environment.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tharsis"));
    command
        .current_dir(folder)
        .env_clear()
        .env("COLUMNS", "100");
    command
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

impl Said {
    /// All of it, to be compared with a snapshot.
    fn all(&self) -> String {
        let mut told = format!("exit {}", self.code.unwrap_or(-1));
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                told.push_str(&format!("\n--- {name}\n{}", text.trim_end()));
            }
        }
        told
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}
