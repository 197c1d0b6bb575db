//! Bounds on text that people give, in one place.

use crate::Invalid;

/// 1 to `max` characters, none of them a control or a character that turns the direction of text.
pub(crate) fn text(value: &str, max: usize) -> Result<(), Invalid> {
    if value.trim().is_empty() {
        return Err(Invalid::new("empty", "is empty"));
    }
    if value.chars().count() > max {
        return Err(Invalid::new(
            "too_long",
            format!("is longer than {max} characters"),
        ));
    }
    if value.chars().any(is_unsafe_to_show) {
        return Err(Invalid::new(
            "control_character",
            "holds a control character",
        ));
    }
    Ok(())
}

/// Characters that change how the text around them is shown (terminals, logs, pages): CWE-117, Trojan Source.
fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}
