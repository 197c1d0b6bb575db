//! The escapes of the corpus: `\\ \n \r \t \0 \xHH \u{H...}`.

/// The bytes that an escaped text stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (kind, after) = escaped.split_at(1);
        rest = match kind {
            "\\" => push(&mut out, b"\\", after),
            "n" => push(&mut out, b"\n", after),
            "r" => push(&mut out, b"\r", after),
            "t" => push(&mut out, b"\t", after),
            "0" => push(&mut out, b"\0", after),
            "x" => {
                let byte = u8::from_str_radix(&after[..2], 16).expect("two hex digits");
                push(&mut out, &[byte], &after[2..])
            }
            "u" => {
                let (digits, after) = after[1..].split_once('}').expect("a closed escape");
                let point = u32::from_str_radix(digits, 16).expect("hex digits");
                let c = char::from_u32(point).expect("a character");
                push(&mut out, c.to_string().as_bytes(), after)
            }
            other => panic!("unknown escape \\{other}"),
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn push<'a>(out: &mut Vec<u8>, bytes: &[u8], after: &'a str) -> &'a str {
    out.extend_from_slice(bytes);
    after
}
