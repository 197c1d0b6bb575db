use super::{Object, Value, plain};

pub(super) fn value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => self::number(*number, out),
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (i, element) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                self::value(element, out);
            }
            out.push(b']');
        }
        Value::Object(object) => self::object(object, out),
    }
}

pub(super) fn object(object: &Object<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, field)) in object.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        value(field, out);
    }
    out.push(b'}');
}

fn number(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        out.extend_from_slice(format(&mut ryu_js::Buffer::new(), number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// ECMA-262 `Number::toString`; negative zero is `0`.
pub(super) fn format(buffer: &mut ryu_js::Buffer, number: f64) -> &str {
    buffer.format_finite(number)
}

/// What `String(number)` is in JavaScript, of a finite number.
pub(crate) fn number_to_string(number: f64) -> String {
    format(&mut ryu_js::Buffer::new(), number).to_owned()
}

/// ECMA-262 `QuoteJSONString`: only the quote, the backslash and U+0000 to U+001F are escaped.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (clean, special) = rest.split_at(plain::length(rest));
        out.extend_from_slice(clean);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        escape(*byte, out);
        rest = after;
    }
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
