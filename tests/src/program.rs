use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// Where the `tharsis` program lies, built if it is not fresh.
pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("THARSIS_TEST_PROGRAM") {
        Some(path) => path.into(),
        None => of("tharsis-cli", "tharsis"),
    })
}

/// Where a program of another package of the workspace lies, built if it is not fresh.
pub(crate) fn of(package: &str, name: &str) -> PathBuf {
    let program = beside(name);
    // One builds, the others wait and find it fresh.
    let lock = lock_file("program.lock");
    lock.lock().expect("a file can be locked");
    if !is_fresh(&program) {
        build(package, name);
    }
    assert!(
        program.is_file(),
        "{name} was built, but not to {}",
        program.display()
    );
    program
}

/// A program of this name in the folder of the profile that this test was built with.
pub(crate) fn beside(name: &str) -> PathBuf {
    profile_folder().join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// A file that all stories of this build can lock, whichever process tells them.
pub(crate) fn lock_file(name: &str) -> File {
    let path = profile_folder().join(name);
    File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A test lies in `<target>/<profile>/deps/`, programs in `<target>/<profile>/`, and this may be either.
fn profile_folder() -> PathBuf {
    let this = env::current_exe().expect("a program knows where it lies");
    let among_tests =
        (this.ancestors()).find(|folder| folder.file_name().is_some_and(|name| name == "deps"));
    let folder = among_tests.unwrap_or(&this).parent();
    folder.expect("a program lies in a folder").to_owned()
}

/// Whether none of the files that it was made of, as cargo wrote them down beside it, was changed since. Asking
/// cargo would do, but it may have built it with other features for the whole workspace, and would build it again.
fn is_fresh(program: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(built) = changed(program) else {
        return false;
    };
    let Ok(rule) = fs::read_to_string(program.with_extension("d")) else {
        return false;
    };
    let Some((_, sources)) = rule.split_once(": ") else {
        return false;
    };
    // A space in a path is escaped with a backslash.
    let is_older = |source: &str| {
        let source = source.replace('\0', " ");
        changed(Path::new(&source)).is_ok_and(|time: SystemTime| time <= built)
    };
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .all(is_older)
}

fn build(package: &str, name: &str) {
    let folder = profile_folder();
    let target = folder.parent().expect("a profile's folder lies in another");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "{name} could not be built");
}
