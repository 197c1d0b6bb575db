//! Text of strangers, made inert: names, answers of receivers, payloads.

use std::{borrow::Cow, fmt::Write};

/// Text that cannot steer a terminal: control characters, and those that turn or hide text, are shown as `\u{1b}`.
pub fn inert(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// JSON that cannot steer a terminal either. JSON itself escapes only what lies below U+0020; the rest can stand in
/// strings alone, where its escape means the same.
pub fn inert_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(steers) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if steers(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// What a receiver answered, as inert text on one line, at most `max` characters of it.
pub fn excerpt(bytes: &[u8], max: usize) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&inert(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    match shown.char_indices().nth(max) {
        Some((end, _)) => format!("{} …", &shown[..end]),
        None => shown,
    }
}

/// Characters that change how the text around them is shown (CWE-150, Trojan Source), and those that cannot be seen.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_cannot_steer_a_terminal() {
        assert_eq!(inert("plain – ünïcode 😀"), "plain – ünïcode 😀");
        assert_eq!(inert("\x1b[2Jgone\r\n"), r"\u{1b}[2Jgone\r\n");
        assert_eq!(inert("a\u{202e}b\u{9b}c"), r"a\u{202e}b\u{9b}c");
        assert_eq!(inert(&inert("\x1b]0;title\x07")), inert("\x1b]0;title\x07"));
        assert_eq!(excerpt(b"ok \xff\x00end", 80), r"ok \xff\u{0}end");
        assert_eq!(excerpt("äöüß".as_bytes(), 2), "äö …");
    }

    #[test]
    fn json_means_the_same_and_steers_nothing() {
        let remote = "a\u{9b}2J \u{7f} \u{202e} \u{e0041} ü \u{1b}";
        let json = serde_json::to_string(remote).expect("JSON");
        let shown = inert_json(&json);
        assert_eq!(shown, r#""a\u009b2J \u007f \u202e \udb40\udc41 ü \u001b""#);
        assert_eq!(
            serde_json::from_str::<String>(&shown).expect("JSON"),
            remote
        );
    }
}
