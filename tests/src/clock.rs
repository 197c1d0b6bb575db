use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

/// The wall clock of a host, which may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// By so many seconds it is fast, or slow where there are fewer than none.
    pub fast_by: i64,
}

impl Clock {
    /// Starts `command` on a host with this clock, where only the wall clock is wrong and time passes as it does.
    #[track_caller]
    pub fn set(self, command: &mut Command) {
        if self.fast_by == 0 {
            return;
        }
        let preload = if cfg!(target_os = "macos") {
            "DYLD_INSERT_LIBRARIES"
        } else {
            "LD_PRELOAD"
        };
        command
            .env(preload, libfaketime())
            .env("FAKETIME", format!("{:+}s", self.fast_by))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Where packages put it.
#[track_caller]
fn libfaketime() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let below = |folder: &str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let mut folders = below("/usr/lib");
        folders.extend(["/usr/lib64", "/opt/homebrew/lib", "/usr/local/lib"].map(Into::into));
        let names = [
            "faketime/libfaketimeMT.so.1",
            "faketime/libfaketimeMT.1.dylib",
        ];
        folders
            .iter()
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|path| path.is_file())
            .expect("libfaketime is missing; `make test` installs it, as `scripts/install faketime` does")
    })
}
