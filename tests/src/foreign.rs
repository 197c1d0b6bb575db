use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file of `examples/node`, to be run by Node.
#[track_caller]
pub fn node_example(file: &str) -> Command {
    let folder = examples().join("node");
    assert!(
        folder.join("node_modules").is_dir(),
        "its packages are missing; `make test` installs them, as `scripts/install express` does"
    );
    let mut command = node();
    command.arg(folder.join(file));
    command
}

/// `node`.
#[track_caller]
pub fn node() -> Command {
    let works = Command::new("node")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        works,
        "Node is missing; `make test` installs it, as `scripts/install node` does"
    );
    Command::new("node")
}

/// A file of `examples/python`, to be run by Python in the environment that has its packages.
#[track_caller]
pub fn python_example(file: &str) -> Command {
    let python = examples().join("../target/venv/bin/python");
    assert!(
        python.is_file(),
        "its packages are missing; `make test` installs them, as `scripts/install flask` does"
    );
    let mut command = Command::new(python);
    // Python writes what the machine's locale can, unless it is told.
    command
        .env("PYTHONUTF8", "1")
        .arg(examples().join("python").join(file));
    command
}

/// A program of the environment that asks the API as its document says.
#[track_caller]
pub fn conformance(program: &str) -> PathBuf {
    let program = examples().join("../target/conformance/bin").join(program);
    assert!(
        program.is_file(),
        "it is missing; `make test` installs it, as `scripts/install schemathesis` does"
    );
    program
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}
