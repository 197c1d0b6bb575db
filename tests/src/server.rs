use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A PostgreSQL server of a story's own, which may be unkind to it. It ends with the story.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    url: String,
}

/// How a server goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// It ends its sessions and writes everything down.
    Fast,
    /// It ends at once: what was not flushed is lost, and its log is read again at the start.
    Immediate,
    /// Its postmaster is ended by `kill -9`, which its sessions notice by themselves.
    Killed,
}

impl Server {
    /// Starts one in this folder, or takes the one that runs there.
    #[track_caller]
    pub fn start(folder: &Path) -> Self {
        let url = run(folder, &["start"]);
        Self {
            folder: folder.to_owned(),
            url,
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes it down.
    #[track_caller]
    pub fn down(&self, how: Down) {
        let how = match how {
            Down::Fast => "fast",
            Down::Immediate => "immediate",
            Down::Killed => "killed",
        };
        run(&self.folder, &["down", how]);
    }

    /// Starts it again, where it was and with what it had.
    #[track_caller]
    pub fn up(&self) {
        run(&self.folder, &["up"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be down.
        let _ = script(&self.folder, &["stop"]).status();
    }
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = script(folder, arguments)
        .output()
        .expect("a script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "scripts/postgres {}: {said}",
        arguments.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn script(folder: &Path, arguments: &[&str]) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/postgres"));
    command
        .arg("--in")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null());
    command
}
