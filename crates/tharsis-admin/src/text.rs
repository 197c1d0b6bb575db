//! How values are written for people.

use std::{borrow::Cow, time::Duration};

use tharsis::{Timestamp, text::inert};

/// One word of a shell's line that can be copied and pasted, quoted where it holds anything but plain characters.
pub fn in_shell(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", inert(word).replace('\'', r"'\''")))
}

/// An instant as people need it: to compare with logs, and to know how long ago it was.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let utc = at.to_string();
    // Milliseconds matter to programs, which get them with --json.
    let seconds = utc
        .split_once('.')
        .map_or(utc.as_str(), |(seconds, _)| seconds);
    let relative = if at > now {
        format!("in {}", age(at.since(now)))
    } else if now.since(at) < Duration::from_secs(1) {
        "now".to_owned()
    } else {
        format!("{} ago", age(now.since(at)))
    };
    format!("{seconds}Z ({relative})")
}

/// [`moment`], or a dash.
pub fn moment_or_dash(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| moment(at, now))
}

/// A span in its largest unit: `12s`, `3m`, `5h`, `2d`.
pub fn age(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{}ms", span.as_millis()),
        s @ 1..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m", s / 60),
        s @ 3_600..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A measured span with three digits: `0.42 ms`, `12.3 ms`, `1.20 s`.
pub fn measured(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1_000.0;
    if millis >= 999.5 {
        format!("{:.2} s", millis / 1_000.0)
    } else if millis >= 99.95 {
        format!("{millis:.0} ms")
    } else if millis >= 9.995 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.2} ms")
    }
}

/// A count with its thousands apart: `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 delivery`, `2 deliveries`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(in_shell("/etc/tharsis/ca-1.pem"), "/etc/tharsis/ca-1.pem");
        assert_eq!(in_shell("my ca.pem"), "'my ca.pem'");
        assert_eq!(in_shell("$(id);~"), "'$(id);~'");
        assert_eq!(in_shell("it's"), r"'it'\''s'");
        assert_eq!(in_shell("a\nrm\u{1b}[2J"), r"'a\nrm\u{1b}[2J'");
        assert_eq!(in_shell(""), "''");
    }

    #[test]
    fn an_instant_is_told_absolutely_and_relatively() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let told = |before: i64| moment(Timestamp::from_millis(now.as_millis() - before), now);
        assert_eq!(told(0), "2023-11-14T22:13:20Z (now)");
        assert_eq!(told(65_000), "2023-11-14T22:12:15Z (1m ago)");
        assert_eq!(told(-7_200_000), "2023-11-15T00:13:20Z (in 2h)");
        assert_eq!(told(40 * 86_400_000), "2023-10-05T22:13:20Z (40d ago)");
    }

    #[test]
    fn figures_read_easily() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [420, 12_340, 99_960, 123_400, 999_600, 1_200_000]
                .map(|us| measured(Duration::from_micros(us))),
            ["0.42 ms", "12.3 ms", "100 ms", "123 ms", "1.00 s", "1.20 s"]
        );
        assert_eq!(counted(1, "delivery", "deliveries"), "1 delivery");
    }
}
