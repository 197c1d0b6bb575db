//! Whether anything that a story left behind holds one of its secrets.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

/// What every secret of a story begins with, and nothing else does.
pub const MARK: &str = "5ec4e7a90bd36f82";

/// Names the file that each world adds its tally to.
const TALLY: &str = "THARSIS_TEST_SEARCHED";

/// What must not be found, in every form that it could have been written in.
#[derive(Debug)]
pub(crate) struct Leaks {
    forms: Vec<Vec<u8>>,
    of_forms: AhoCorasick,
}

/// How much was looked at, and where something was found.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    files: u64,
    bytes: u64,
    pub(crate) found: Vec<String>,
}

impl Leaks {
    /// The marked secrets, the keys that lie in this folder, and the secrets that were generated and shown there.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut forms = forms_of(MARK.as_bytes());
        for path in files_in(folder) {
            if is_key(&path) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                for key in keys_in(&text) {
                    forms.extend(forms_of(key.as_bytes()));
                    forms.extend(bytes_of(key).iter().flat_map(|key| forms_of(key)));
                }
            } else if let Some(secret) = shown_in(&path) {
                forms.extend(forms_of(secret.as_bytes()));
            }
        }
        let of_forms = AhoCorasick::new(&forms).expect("they are few and short");
        Self { forms, of_forms }
    }

    /// Looks into every file that is not meant to hold a secret.
    pub(crate) fn search(&self, folder: &Path) -> Searched {
        let mut searched = Searched::default();
        for path in files_in(folder) {
            // A fifo or a socket has no bytes of its own.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if !metadata.is_file() || is_key(&path) || is_secret(&path) || shown_in(&path).is_some()
            {
                continue;
            }
            let Ok(file) = File::open(&path) else {
                continue;
            };
            searched.files += 1;
            searched.bytes += metadata.len();
            if let Some(Ok(_)) = self.of_forms.stream_find_iter(file).next() {
                searched.found.push(path.display().to_string());
            }
        }
        searched
    }

    /// As SQL asks whether `text` holds one.
    pub(crate) fn condition(&self, text: &str) -> String {
        // The others are written in hexadecimal there.
        let of_text = (self.forms.iter())
            .filter(|form| form.iter().all(|byte| matches!(byte, b' '..=b'~')))
            .map(|form| String::from_utf8_lossy(form).replace('\'', "''"));
        let each: Vec<String> = of_text
            .map(|form| format!("position('{form}' IN {text}) > 0"))
            .collect();
        each.join(" OR ")
    }
}

impl Searched {
    /// Rows of a table: how many bytes, and in how many there is a secret.
    pub(crate) fn table(&mut self, name: &str, bytes: u64, found: u64) {
        self.files += 1;
        self.bytes += bytes;
        if found > 0 {
            self.found.push(format!("{found} rows of {name}"));
        }
    }

    /// Adds it to what the run has searched.
    pub(crate) fn tell(&self) {
        let Some(path) = env::var_os(TALLY) else {
            return;
        };
        let line = format!("{} {}\n", self.files, self.bytes);
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the tally can be written");
    }
}

/// As text, in hexadecimal, in base64 wherever it begins, and as Rust shows bytes.
fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    if secret.is_empty() {
        return Vec::new();
    }
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        secret.to_vec(),
        secret.to_ascii_uppercase(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        list.join(", ").into_bytes(),
        list.join(",").into_bytes(),
    ];
    for before in 0..3 {
        // The characters at both ends are made of what stands beside it too.
        let shifted = [&[0; 2][..before], secret].concat();
        let text = BASE64_STANDARD.encode(&shifted);
        let (first, last) = ([0, 2, 3][before], shifted.len() / 3 * 4);
        forms.push(text.as_bytes()[first..last].to_vec());
    }
    forms.sort();
    forms.dedup();
    forms
}

/// The keys of a file: each word of a line, up to a remark; or all of it, where it is a key of another kind.
fn keys_in(text: &str) -> Vec<&str> {
    if text.starts_with("-----") {
        return vec![text.trim()];
    }
    (text.lines())
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|keys| keys.split([' ', '\t', ',']))
        .filter(|key| !key.is_empty())
        .collect()
}

/// Of hexadecimal digits.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = hex.chars().collect();
    (digits.chunks(2))
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok())
        .collect()
}

/// Of a key that seals, or of one that is a receiver's or an authority's.
fn is_key(path: &Path) -> bool {
    let name = name(path);
    name.ends_with(".key") || name.ends_with(".key.new")
}

/// A file that a story keeps a secret in, to hand it over.
fn is_secret(path: &Path) -> bool {
    name(path).starts_with("secret-")
}

/// The secret in the one answer that may show it: of the command that made it.
fn shown_in(answer: &Path) -> Option<String> {
    if answer.extension()? != "out" {
        return None;
    }
    let told = fs::read_to_string(answer.with_extension("told")).ok()?;
    let makes_one = [
        "subscription add",
        "subscription rotate",
        "subscription set",
    ]
    .iter()
    .any(|command| told.contains(command));
    if !makes_one || told.contains("--secret-file") {
        return None;
    }
    let answer: Value = serde_json::from_slice(&fs::read(answer).ok()?).ok()?;
    answer["secret"].as_str().map(ToOwned::to_owned)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_in(&path)),
            Ok(_) => files.push(path),
            Err(_) => {}
        }
    }
    files
}

fn name(path: &Path) -> &str {
    (path.file_name().and_then(|name| name.to_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{Leaks, MARK, Searched};

    fn search(files: &[(&str, &str)]) -> Searched {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("it is writable");
        }
        Leaks::of(folder.path()).search(folder.path())
    }

    #[test]
    fn a_secret_is_found_in_whatever_form_it_is_written() {
        let secret = format!("{MARK}00c0ffee");
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let base64 = |before: &str| BASE64_STANDARD.encode(format!("{before}{secret}"));
        for text in [
            format!("the secret {secret} of it"),
            format!("\\x{hex}"),
            hex.to_uppercase(),
            base64(""),
            base64("a"),
            base64("ab"),
            format!("{:?}", secret.as_bytes()),
        ] {
            assert_eq!(
                search(&[("0001-tharsis.err", &text)]).found.len(),
                1,
                "{text}"
            );
        }
        assert_eq!(search(&[("log", "nothing of it")]).found, [""; 0]);
    }

    #[test]
    fn a_key_is_found_and_not_in_its_own_file() {
        let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let base64 = BASE64_STANDARD.encode((0..32).collect::<Vec<u8>>());
        let other = "ff".repeat(32);
        for file in [
            format!("{key}\n"),
            format!("{key} # 0123456789abcdef\n{other} # fedcba9876543210\n"),
            format!("{other},{key}"),
        ] {
            for text in [key, &key.to_uppercase(), &base64] {
                let found = search(&[("outbox.db.key", &file), ("log", text)]).found;
                assert_eq!(found.len(), 1, "{text} of {file}");
            }
            let id = search(&[("outbox.db.key", &file), ("log", "0123456789abcdef")]);
            assert_eq!(id.found, [""; 0], "an id gives nothing away");
        }
        assert_eq!(search(&[("outbox.db.key", key)]).found, [""; 0]);
    }

    #[test]
    fn what_is_shown_once_may_be_shown_once() {
        let told = ("1.told", "tharsis --json subscription add --name=shop");
        let shown = ("1.out", r#"{"secret":"0123456789abcdef01234567"}"#);
        assert_eq!(search(&[told, shown]).found, [""; 0]);
        let again = ("2.out", shown.1);
        let show = ("2.told", "tharsis --json subscription show 1");
        assert_eq!(search(&[told, shown, show, again]).found.len(), 1);
    }
}
