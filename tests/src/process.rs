use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tharsis::Timestamp;

use crate::wait_until;

/// What the kernel may take to stop a process. Far above what it needs.
const FREEZING: Duration = Duration::from_secs(10);

/// A process of ours. What it writes goes to files, so that nothing is lost when it is killed. It is killed when it is
/// dropped.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// Where a process stood when it was killed or frozen.
#[derive(Debug, Clone)]
pub struct Stood {
    /// A moment before.
    pub at: Timestamp,
    /// Its connections: from which port to which. A port alone may be used for several, to different ports.
    pub connections: HashSet<(u16, u16)>,
}

/// What a process left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// What was run.
    pub command: String,
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Running {
    /// Starts `command`; `log` is where its output goes, with `.out` and `.err` added, unless `stdout` is given; with `.told` it is
    /// what was run.
    pub(crate) fn start(
        mut command: Command,
        stdin: Stdio,
        stdout: Option<Stdio>,
        log: &Path,
    ) -> Self {
        let (out, err) = (log.with_extension("out"), log.with_extension("err"));
        let file =
            |path| Stdio::from(File::create(path).expect("the world's folder can be written"));
        let own = file(&out);
        let told = told(&command);
        fs::write(log.with_extension("told"), &told).expect("the world's folder can be written");
        let child = command
            .stdin(stdin)
            .stdout(stdout.unwrap_or(own))
            .stderr(file(&err))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {told}: {error}"));
        Self {
            command: told,
            child,
            out,
            err,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// The file that its standard error goes to.
    pub fn stderr_file(&self) -> &Path {
        &self.err
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&mut self) -> bool {
        self.status().is_none()
    }

    /// Ends it as `kill -9` does, and says where it stood.
    #[track_caller]
    pub fn kill9(mut self) -> Stood {
        let stood = self.freeze();
        self.child.kill().expect("it is our child and was alive");
        self.child.wait().expect("it is our child");
        stood
    }

    /// Stops it in the middle of whatever it does, as `kill -STOP` does, and says where it stands.
    #[track_caller]
    pub fn freeze(&mut self) -> Stood {
        assert!(
            self.is_alive(),
            "{} ended by itself: {}",
            self.command,
            self.stderr()
        );
        let at = tharsis::system_now();
        kill_process(self.pid(), Signal::STOP).expect("it is our child");
        // It may have come to its end at this very moment.
        wait_until("a frozen process stands still", FREEZING, || {
            matches!(&*self.state(), "T" | "Z").then_some(())
        });
        Stood {
            at,
            connections: self.connections(),
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it is our child");
    }

    /// Its connections at present: from which port to which; none once it has ended.
    pub fn connections(&self) -> HashSet<(u16, u16)> {
        let sockets: HashSet<String> = (fs::read_dir(format!("/proc/{}/fd", self.id()))
            .into_iter())
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?;
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
        // The table is not read at one instant: while others connect, a part of it may be missed.
        let table =
            || fs::read_to_string("/proc/net/tcp").expect("the kernel tells its connections");
        let tables = [table(), table()];
        (tables.iter().flat_map(|table| table.lines()))
            .filter_map(|line| {
                // Two addresses, as `0100007F:1F90`, are the second and third field, and the socket's inode the tenth.
                let fields: Vec<&str> = line.split_whitespace().collect();
                let port = |field: usize| {
                    let (_, port) = fields.get(field)?.split_once(':')?;
                    u16::from_str_radix(port, 16).ok()
                };
                let is_its = sockets.contains(*fields.get(9)?);
                is_its.then_some((port(1)?, port(2)?))
            })
            .collect()
    }

    /// Asks it to end, as `kill` does.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("it is our child");
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        kill_process(self.pid(), Signal::INT).expect("it is our child");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self, bound: Duration) -> Finished {
        let begin = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.status() {
                break status;
            }
            assert!(
                begin.elapsed() < bound,
                "{} did not end within {bound:?}; it said:\n{}{}",
                self.command,
                self.stdout(),
                self.stderr()
            );
            crate::pause(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        Finished {
            command: self.command.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Processor time used so far, by itself and on its behalf.
    pub fn processor_time(&self) -> Duration {
        let ticks: u64 = (13..=14)
            .map(|field| self.stat(field).parse::<u64>().expect("ticks are numbers"))
            .sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// `R` while it runs, `S` while it waits, `T` while it is frozen.
    fn state(&self) -> String {
        self.stat(2)
    }

    /// A field of its `stat`, counted from 0.
    fn stat(&self, field: usize) -> String {
        let stat = self.proc("stat");
        // The second one is a name in parentheses, and may hold anything.
        let (_, fields) = stat.rsplit_once(')').expect("a stat names its process");
        let value = fields.split_whitespace().nth(field - 2);
        value.expect("a stat has many fields").to_owned()
    }

    /// Bytes of memory that it holds at present.
    pub fn resident_memory(&self) -> u64 {
        let status = self.proc("status");
        let kilobytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.trim().strip_suffix(" kB"))
            .and_then(|value| value.parse().ok())
            .expect("a living process has memory");
        kilobytes * 1024
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .expect("a living process lies in /proc")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The same, if it ended with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect(0)
    }

    /// The same, if it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{} said:\n{}{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Its answer, which is one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "{} did not answer in JSON ({error}):\n{}{}",
                self.command, self.stdout, self.stderr
            )
        })
    }

    /// Its answer, a JSON document a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        (self.stdout.lines())
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| {
                    panic!("{} wrote no JSON ({error}): {line}", self.command)
                })
            })
            .collect()
    }

    /// The code of its error: `{"error":{"code":…}}` with an exit code of 1 or 2.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let error = self.error();
        let code = error["code"].as_str().expect("an error has a code");
        code.to_owned()
    }

    /// Its error: `code`, `field`, `message`, `hint`, with an exit code of 1 or 2.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert!(
            matches!(self.code, Some(1 | 2)),
            "{} ended with {:?}:\n{}{}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        let error = self.json()["error"].take();
        assert!(error["message"].is_string(), "{error}");
        error
    }
}

fn told(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    (command.get_args()).fold(name, |told, argument| {
        let argument = argument.to_string_lossy();
        let short: String = argument.chars().take(200).collect();
        told + " " + &short
    })
}

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).expect("the file was made when the process was started");
    String::from_utf8(bytes).expect("programs of ours write UTF-8")
}
