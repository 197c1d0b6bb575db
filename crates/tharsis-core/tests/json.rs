//! The parser refuses what would not survive JavaScript; the writer prints what JavaScript would.

use std::fmt::Write as _;

use proptest::prelude::*;
use tharsis_core::{
    Invalid,
    json::{self, MAX_DEPTH, Value},
};

fn stringify(text: &str) -> String {
    let value = json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
    String::from_utf8(value.to_vec()).unwrap()
}

fn refuse(text: impl AsRef<[u8]>) -> Invalid {
    json::parse(text.as_ref()).expect_err("it should be refused")
}

#[test]
fn numbers_are_printed_as_node_prints_them_or_refused() {
    let corpus = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/corpus/javascript_numbers.tsv"
    );
    let rows = std::fs::read_to_string(corpus).unwrap();
    let mut refused = Vec::new();
    for row in rows.lines().skip(1) {
        let (literal, printed) = row.split_once('\t').unwrap();
        match json::parse(literal.as_bytes()) {
            Ok(value) => assert_eq!(value.to_vec(), printed.as_bytes(), "{literal}"),
            Err(error) => {
                assert_eq!(error.code, "number_out_of_range");
                refused.push(literal);
            }
        }
    }
    assert_eq!(refused, ["9007199254740993", "12345678901234567890"]);
}

#[test]
fn an_integer_stays_the_same_integer_or_is_refused() {
    for same in [
        "0",
        "-7",
        "999999999999999",
        "-9007199254740992",
        "9007199254740994",
        "100000000000000000000",
        "123456789012345680000",
    ] {
        assert_eq!(stringify(same), same);
    }
    assert_eq!(stringify("1000000000000000000000"), "1e+21");
    assert_eq!(stringify("-120000000000000000000000000"), "-1.2e+26");
    for other in [
        "-9007199254740993",
        "9223372036854775807",
        "100000000000000000001",
        "1000000000000000000001",
        "120000000000000000000000001",
    ] {
        assert_eq!(refuse(other).code, "number_out_of_range", "{other}");
    }
}

#[test]
fn a_fraction_becomes_the_nearest_double() {
    assert_eq!(stringify("9007199254740993.0"), "9007199254740992");
    assert_eq!(stringify("0.1000000000000000055511151231257827"), "0.1");
    assert_eq!(stringify("1e-400"), "0");
    assert_eq!(stringify("-0.0"), "0");
    assert_eq!(refuse("1e999").code, "number_out_of_range");
    assert_eq!(refuse("-1e309").code, "number_out_of_range");
    assert_eq!(refuse("9".repeat(400)).code, "number_out_of_range");
}

#[test]
fn a_refused_number_is_named_by_its_path() {
    let error = refuse(r#"{"orders":[{"id":1},{"weird key\n":{"id":9007199254740993}}]}"#);
    insta::assert_snapshot!(error, @r#"orders[1]["weird key\n"].id: is an integer that JavaScript would read as another one (send it as a string)"#);
}

#[test]
fn strings_are_escaped_as_javascript_does() {
    assert_eq!(
        stringify(r#""\u0000\u0001\b\t\n\u000b\f\r\u001F\"\\\/""#),
        r#""\u0000\u0001\b\t\n\u000b\f\r\u001f\"\\/""#
    );
    assert_eq!(
        stringify(r#""\u007f\u0080\u2028\u2029\ufeff\uffff\ud83d\udc5F""#),
        "\"\u{7f}\u{80}\u{2028}\u{2029}\u{feff}\u{ffff}\u{1f45f}\""
    );
    assert_eq!(
        stringify("\"Crème \u{1f3c3}\u{200d}\u{2640}\""),
        "\"Crème \u{1f3c3}\u{200d}\u{2640}\""
    );
}

#[test]
fn array_indices_stand_first_in_ascending_order() {
    assert_eq!(
        stringify(
            r#"{"b":1,"10":1,"4294967295":1,"9":1,"01":1,"-1":1,"4294967294":1,"0":1,"1.5":1,"":1,"a":1,"99999999999":1}"#
        ),
        r#"{"0":1,"9":1,"10":1,"4294967294":1,"b":1,"4294967295":1,"01":1,"-1":1,"1.5":1,"":1,"a":1,"99999999999":1}"#
    );
}

#[test]
fn proto_is_a_key_like_any_other() {
    let text = r#"{"z":1,"__proto__":{"__proto__":null},"constructor":{},"toJSON":"x"}"#;
    assert_eq!(stringify(text), text);
    assert_eq!(
        refuse(r#"{"__proto__":1,"__proto__":1}"#).code,
        "json_duplicate_key"
    );
}

#[test]
fn errors_tell_where_and_never_what() {
    let told = [
        r#"{"a":"#,
        "{\"secret\":1,\n  \"é\":  hunter2}",
        "[1,]",
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        r#"{"a" 1}"#,
        "[1 2]",
        r#"{"a":1 "b":2}"#,
        "01",
        "-",
        "1.",
        "1e",
        "+1",
        ".5",
        "NaN",
        "-Infinity",
        "tru",
        "\"abc",
        "\"abc\\",
        "\"a\tb\"",
        r#""\x41""#,
        r#""\u12g4""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00\ud800""#,
        "'a'",
        "\u{feff}{}",
        "{} x",
        "{}{}",
        " \n ",
        "",
    ]
    .into_iter()
    .fold(String::new(), |mut told, text| {
        let error = refuse(text);
        let _ = writeln!(told, "{} => {} | {error}", text.escape_debug(), error.code);
        told
    });
    insta::assert_snapshot!(told, @r#"
    {\"a\": => json_syntax | line 1 column 6: a value is expected
    {\"secret\":1,\n  \"é\":  hunter2} => json_syntax | line 2 column 9: a value is expected
    [1,] => json_syntax | line 1 column 4: a value is expected
    {\"a\":1,} => json_syntax | line 1 column 8: a key in double quotes is expected
    {a:1} => json_syntax | line 1 column 2: a key in double quotes is expected
    {\"a\" 1} => json_syntax | line 1 column 6: a colon is expected
    [1 2] => json_syntax | line 1 column 4: a comma or a closing bracket is expected
    {\"a\":1 \"b\":2} => json_syntax | line 1 column 8: a comma or a closing brace is expected
    01 => json_trailing_data | line 1 column 2: something follows the JSON document
    - => json_syntax | line 1 column 2: a digit is expected
    1. => json_syntax | line 1 column 3: a digit is expected
    1e => json_syntax | line 1 column 3: a digit is expected
    +1 => json_syntax | line 1 column 1: a value is expected
    .5 => json_syntax | line 1 column 1: a value is expected
    NaN => json_syntax | line 1 column 1: a value is expected
    -Infinity => json_syntax | line 1 column 2: a digit is expected
    tru => json_syntax | line 1 column 1: a value is expected
    \"abc => json_syntax | line 1 column 5: a string is not closed
    \"abc\\ => json_syntax | line 1 column 6: a string is not closed
    \"a\tb\" => json_syntax | line 1 column 3: a control character in a string must be escaped
    \"\\x41\" => json_syntax | line 1 column 2: an unknown escape
    \"\\u12g4\" => json_syntax | line 1 column 4: four hexadecimal digits are expected
    \"\\ud800\" => json_syntax | line 1 column 2: half of a surrogate pair stands alone
    \"\\ud800\\u0041\" => json_syntax | line 1 column 2: half of a surrogate pair stands alone
    \"\\udc00\\ud800\" => json_syntax | line 1 column 2: half of a surrogate pair stands alone
    \'a\' => json_syntax | line 1 column 1: a value is expected
    \u{feff}{} => json_syntax | line 1 column 1: a byte order mark stands before the JSON
    {} x => json_trailing_data | line 1 column 4: something follows the JSON document
    {}{} => json_trailing_data | line 1 column 3: something follows the JSON document
     \n  => body_missing | there is nothing but white space
     => body_missing | there is nothing but white space
    "#);
}

#[test]
fn only_utf8_is_read() {
    let utf16: Vec<u8> = "{\"a\":1}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.clone()).collect();
    for bytes in [
        &utf16[..],
        &with_mark,
        b"\"\xc3\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\x80\"",
    ] {
        assert_eq!(refuse(bytes).code, "json_not_utf8");
    }
}

#[test]
fn nesting_ends_at_the_limit_and_long_before_the_stack_does() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(stringify(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
    assert_eq!(refuse(nested(MAX_DEPTH + 1)).code, "json_too_deep");
    assert_eq!(refuse("[".repeat(1_000_000)).code, "json_too_deep");
    assert_eq!(refuse(r#"{"a":"#.repeat(1_000_000)).code, "json_too_deep");
}

#[test]
fn a_key_that_is_there_twice_is_refused_by_name() {
    let error = refuse(r#"{"a":[{"url":1,"\u0075rl":2}]}"#);
    assert_eq!(
        (error.code, error.field.as_deref()),
        ("json_duplicate_key", Some("a[0].url"))
    );
    let many: String = (0..50).map(|i| format!("\"k{i}\":0,")).collect();
    assert_eq!(
        refuse(format!("{{{many}\"k17\":0}}")).field.as_deref(),
        Some("k17")
    );
}

#[test]
fn a_million_keys_are_taken_as_they_come() {
    // Comparing each with all before it would take hours.
    let keys: Vec<_> = (0..1_000_000).map(|i| format!("\"key{i}\":{i}")).collect();
    let text = format!("{{{}}}", keys.join(","));
    assert_eq!(stringify(&text), *text);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::parse(&bytes);
    }

    #[test]
    fn nearly_json_never_panics(text in r#"[\[\]{}:,"\\ud8cf0-9eE.+\- atrufalsn\n]{0,60}"#) {
        let _ = json::parse(text.as_bytes());
    }

    #[test]
    fn what_is_written_is_a_fixed_point(value in value()) {
        let text = value.to_string();
        let once = json::parse(text.as_bytes()).unwrap().to_vec();
        let parsed = json::parse(&once).unwrap();
        prop_assert_eq!(parsed.to_vec(), once);
    }

    #[test]
    fn nothing_is_lost_or_changed(value in value()) {
        let text = value.to_string();
        prop_assert!(is_same(&json::parse(text.as_bytes()).unwrap(), &value));
    }

    #[test]
    fn every_double_comes_back_bit_by_bit(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        prop_assume!(number.is_finite());
        let printed = Value::Number(number).to_vec();
        prop_assert_eq!(json::parse(&printed).unwrap(), Value::Number(number));
    }

    #[test]
    fn every_short_integer_is_kept_and_every_long_one_kept_or_refused(n in any::<i64>()) {
        let text = n.to_string();
        match json::parse(text.as_bytes()) {
            Ok(value) => prop_assert_eq!(value.to_vec(), text.into_bytes()),
            Err(error) => {
                prop_assert_eq!(error.code, "number_out_of_range");
                prop_assert!(n.unsigned_abs() > 1 << 53);
            }
        }
    }

    #[test]
    fn keys_keep_their_order_but_for_indices(keys in proptest::collection::hash_set("[a-c]{1,2}|[0-9]{1,2}", 0..30)) {
        let keys: Vec<_> = keys.into_iter().collect();
        let text: Vec<_> = keys.iter().map(|key| format!("{key:?}:0")).collect();
        let text = format!("{{{}}}", text.join(","));
        let value = json::parse(text.as_bytes()).unwrap();
        let Value::Object(object) = &value else { panic!("no object") };
        let is_index = |key: &&String| {
            key.parse::<u32>().is_ok_and(|n| n.to_string() == **key)
        };
        let mut expected: Vec<_> = keys.iter().filter(is_index).collect();
        expected.sort_by_key(|key| key.parse::<u32>().unwrap());
        expected.extend(keys.iter().filter(|key| !is_index(key)));
        let found: Vec<_> = object.iter().map(|(key, _)| key.to_owned()).collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n)
            .map(Into::into)),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            proptest::collection::hash_map("[0-9]{1,3}|\\PC{0,6}", inner, 0..8)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn is_same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Number(a), serde_json::Value::Number(b)) => b.as_f64() == Some(*a),
        (Value::String(a), serde_json::Value::String(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => false,
    }
}
