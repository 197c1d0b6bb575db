//! Which database a URL names, and how it may be shown.

use std::{ffi::OsString, fs, path::PathBuf};

use tharsis_core::Invalid;

pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// What else is wrong with a URL is told by the store of its kind.
    pub(super) fn of(url: &str) -> Result<Self, Invalid> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(
                Invalid::new("bad_database_url", "is no URL of SQLite or PostgreSQL")
                    .at("database")
                    .hint("write sqlite://PATH, as in sqlite://tharsis.db, or postgres://USER@HOST/DATABASE?schema=tharsis"),
            ),
        }
    }
}

/// The key file of an SQLite database, which lies beside the file that is meant, wherever links lead.
pub(super) fn beside_file(url: &str) -> PathBuf {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
    let mut file = OsString::from(fs::canonicalize(&path).unwrap_or(path));
    file.push(".key");
    file.into()
}

/// A database URL that may be printed: without the password, wherever it stands. Of one that is written wrongly it rather
/// hides too much.
///
/// # Examples
/// ```
/// use tharsis_store::redacted;
///
/// assert_eq!(redacted("postgres://engine:s3cret@db.internal/shop"), "postgres://engine:***@db.internal/shop");
/// assert_eq!(redacted("sqlite://tharsis.db"), "sqlite://tharsis.db");
/// ```
pub fn redacted(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme != "sqlite" => (scheme, rest),
        None if url.contains('@') && !url.starts_with("sqlite:") => return "***".to_owned(),
        _ => return url.to_owned(),
    };
    // In the query, up to the end: it may hold by mistake what should have been escaped.
    let key = "password=";
    let rest = match rest.to_ascii_lowercase().find(key) {
        Some(at) => format!("{}***", &rest[..at + key.len()]),
        None => rest.to_owned(),
    };
    // Before the host, up to the last @: a host never holds one.
    match rest.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{place}"),
            None => format!("{scheme}://{rest}"),
        },
        // A port is a number. What is none may be a password whose @ was forgotten.
        None => match rest.split_once(':') {
            Some((name, after)) if !name.contains(['/', '?', '[']) && !is_port(after) => {
                format!("{scheme}://{name}:***")
            }
            _ => format!("{scheme}://{rest}"),
        },
    }
}

fn is_port(rest: &str) -> bool {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest[..end].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_neither_kind_is_refused_and_both_forms_are_named() {
        for bad in [
            "",
            "tharsis.db",
            "mysql://localhost/x",
            "SQLITE://x.db",
            "postgre://localhost/x",
        ] {
            let refused = Kind::of(bad).err().expect("refused");
            assert_eq!(
                (refused.code, refused.field.as_deref()),
                ("bad_database_url", Some("database")),
                "{bad}"
            );
            let hint = refused.hint.unwrap_or_default();
            assert!(
                hint.contains("sqlite://") && hint.contains("postgres://"),
                "{hint}"
            );
        }
        assert!(matches!(Kind::of("sqlite:x.db"), Ok(Kind::Sqlite)));
        assert!(matches!(Kind::of("postgresql://h/d"), Ok(Kind::Postgres)));
    }

    #[test]
    fn a_key_lies_beside_its_file() {
        for url in ["sqlite://no/such.db", "sqlite:no/such.db"] {
            assert_eq!(beside_file(url), PathBuf::from("no/such.db.key"), "{url}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let folder = fs::canonicalize(folder.path()).expect("it is there");
        let file = folder.join("x.db");
        let url = format!("sqlite://{}", file.display());
        assert_eq!(beside_file(&url), folder.join("x.db.key"));
    }

    #[test]
    fn no_password_is_shown_wherever_it_stands() {
        let shown = |url: &str| {
            let shown = redacted(url);
            assert!(!shown.contains("s3c"), "{shown}");
            shown
        };
        assert_eq!(
            shown("postgres://u:s3cret@h:5432/d?schema=tharsis"),
            "postgres://u:***@h:5432/d?schema=tharsis"
        );
        assert_eq!(
            shown("postgres://h/d?user=u&password=s3cret&sslmode=require"),
            "postgres://h/d?user=u&password=***"
        );
        assert_eq!(
            shown("postgres://u@h/d?PassWord=s3c&ret@s3c"),
            "postgres://u@h/d?PassWord=***"
        );
        assert_eq!(
            shown("postgres://u:s3cret@h/d?sslpassword=s3cret"),
            "postgres://u:***@h/d?sslpassword=***"
        );
        // Written wrongly: what should have been escaped ends the authority.
        assert_eq!(
            shown("postgres://u:s3c/re?t#s3c@h/d"),
            "postgres://u:***@h/d"
        );
        assert_eq!(shown("postgres://u:s3c@ret@h/d"), "postgres://u:***@h/d");
        assert_eq!(shown("postgres://u:@h/d"), "postgres://u:***@h/d");
        assert_eq!(shown("u:s3cret@h/d"), "***");
        assert_eq!(shown("postgres://u:s3cret/d?x=1"), "postgres://u:***");
        assert_eq!(shown("postgres://u:s3cret"), "postgres://u:***");
        assert_eq!(shown("mysql://u:s3cret@h/d"), "mysql://u:***@h/d");
        for same in [
            "sqlite://a:b@c.db",
            "postgres://h/d",
            "postgres:///d?host=/run/postgresql",
            "nothing",
        ] {
            assert_eq!(redacted(same), same);
        }
    }
}
