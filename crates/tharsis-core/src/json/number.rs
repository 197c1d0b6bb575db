use super::write;
use crate::Invalid;

/// Every integer of so many digits is exactly a double.
const EXACT_DIGITS: usize = 15;

/// The double that a literal of the JSON grammar stands for.
///
/// Written with a fraction or an exponent it becomes the nearest double, as in every JSON parser of the field. Written
/// as an integer it must come out as the same integer, for it is most likely an id.
pub(super) fn parse(literal: &str) -> Result<f64, Invalid> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let is_integer = digits.bytes().all(|b| b.is_ascii_digit());
    if is_integer && digits.len() <= EXACT_DIGITS {
        let magnitude = digits
            .bytes()
            .fold(0_u32.into(), |n: u64, b| n * 10 + u64::from(b - b'0'));
        // Exact: fewer than 2⁵³.
        let number = magnitude as f64;
        return Ok(if digits.len() == literal.len() {
            number
        } else {
            -number
        });
    }
    let number: f64 = literal
        .parse()
        .map_err(|_| Invalid::new("json_syntax", "is no JSON number"))?;
    if !number.is_finite() {
        return Err(
            Invalid::new("number_out_of_range", "is larger than a double can be")
                .hint("send it as a string"),
        );
    }
    if is_integer && !is_same_integer(digits, number.abs()) {
        return Err(Invalid::new(
            "number_out_of_range",
            "is an integer that JavaScript would read as another one",
        )
        .hint("send it as a string"));
    }
    Ok(number)
}

/// Whether what ECMAScript prints for `number` is the integer of `digits`.
fn is_same_integer(digits: &str, number: f64) -> bool {
    let mut buffer = ryu_js::Buffer::new();
    let printed = write::format(&mut buffer, number);
    let (mantissa, exponent) = printed.split_once("e+").unwrap_or((printed, ""));
    let significant = mantissa.bytes().filter(|b| *b != b'.');
    // Digits before the point, once it stands behind the last of them.
    let length = match exponent.parse::<usize>() {
        Ok(exponent) => exponent + 1,
        Err(_) => mantissa.len(),
    };
    length == digits.len()
        && digits
            .bytes()
            .eq(significant.chain(std::iter::repeat(b'0')).take(length))
}
