//! Under which names this server may be asked. Whoever leads a name of theirs to this machine, and has a browser on it ask
//! under that name, is not answered (DNS rebinding).

use axum::http::{HeaderMap, Uri, header};
use tharsis::Invalid;

/// Reads a name with its port, where that is not the one of the scheme: `tharsis.example.com`, `localhost:8400`. In lower case.
///
/// # Errors
/// `bad_host`.
///
/// # Examples
/// ```
/// use tharsis_admin::host_name;
///
/// assert_eq!(host_name("Tharsis.Example.com")?, "tharsis.example.com");
/// assert_eq!(host_name("https://tharsis.example.com/").unwrap_err().code, "bad_host");
/// # Ok::<(), tharsis::Invalid>(())
/// ```
pub fn host_name(text: &str) -> Result<String, Invalid> {
    let of_a_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if text.is_empty() || text.len() > 261 || !text.bytes().all(of_a_name) {
        return Err(Invalid::new("bad_host", "is no name of a host").hint(
            "write it as browsers send it: tharsis.example.com, with a port where the URL has one",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// The one name that a request says it is for, in lower case.
pub(crate) fn asked(headers: &HeaderMap) -> Option<String> {
    let mut names = headers.get_all(header::HOST).iter();
    match (names.next(), names.next()) {
        (Some(name), None) => name.to_str().ok().map(str::to_ascii_lowercase),
        _ => None,
    }
}

/// Whether a request is for one of these names. A target that names a host itself names the same one (RFC 9112, section 3.2.2).
pub(crate) fn is_known(known: &[String], headers: &HeaderMap, target: &Uri) -> bool {
    let Some(host) = asked(headers) else {
        return false;
    };
    let is_same = |authority: &str| authority.eq_ignore_ascii_case(&host);
    known.contains(&host) && (target.authority()).is_none_or(|named| is_same(named.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_name_is_known_whatever_its_case_and_with_its_port() {
        let known = ["localhost:8400", "[::1]:8400", "tharsis.example.com"].map(str::to_owned);
        let is_known = |hosts: &[&str], target: &str| {
            is_known(&known, &headers(hosts), &target.parse().expect("a target"))
        };
        for host in [
            "localhost:8400",
            "LocalHost:8400",
            "[::1]:8400",
            "tharsis.example.com",
        ] {
            assert!(is_known(&[host], "/"), "{host}");
        }
        for host in [
            "",
            "localhost",
            "localhost:8401",
            "localhost:8400.",
            "evil.example",
            "evil.example:8400",
            "tharsis.example.com:443",
            "tharsis.example.com.evil.example",
        ] {
            assert!(!is_known(&[host], "/"), "{host}");
        }
        // Nobody is asked under two names, or under none.
        assert!(!is_known(&[], "/"));
        assert!(!is_known(&["localhost:8400", "localhost:8400"], "/"));
        assert!(!is_known(&["evil.example", "localhost:8400"], "/"));
        // Nor under another one than the target says.
        assert!(is_known(&["localhost:8400"], "http://localhost:8400/"));
        assert!(!is_known(&["localhost:8400"], "http://evil.example/"));
    }

    #[test]
    fn a_name_is_read_as_browsers_send_it() {
        for (text, name) in [
            ("Tharsis.Example.com", "tharsis.example.com"),
            ("localhost:8400", "localhost:8400"),
            ("[::1]:8400", "[::1]:8400"),
        ] {
            assert_eq!(host_name(text).as_deref(), Ok(name));
        }
        for wrong in ["", "https://a.example", "a.example/", "a b", "ä.example"] {
            let refused = host_name(wrong).expect_err("no name");
            assert_eq!(refused.code, "bad_host");
        }
    }
}
