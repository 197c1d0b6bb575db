//! When a failed delivery is tried again.

use std::time::Duration;

use proptest::prelude::*;
use tharsis_core::{
    Timestamp, format_duration, parse_duration,
    retry::{MAX_DELAY, RetryPolicy, retry_after},
};

/// Sun, 06 Nov 1994 08:49:37 GMT, the instant of RFC 9110's examples.
const EXAMPLE: Timestamp = Timestamp::from_millis(784_111_777_000);

fn policy(text: &str) -> Result<String, (&'static str, Option<String>)> {
    text.parse::<RetryPolicy>()
        .map(|p| p.to_string())
        .map_err(|e| (e.code, e.field))
}

#[test]
fn the_documented_schedule_is_the_default() {
    let retry = RetryPolicy::default();
    assert_eq!(retry.to_string(), "5s,1m,10m");
    assert_eq!("5s,1m,10m".parse(), Ok(retry.clone()));
    let middle: Vec<_> = (0..5).map(|tries| retry.delay(tries, 0x8000)).collect();
    let seconds = |s| Some(Duration::from_secs(s));
    assert!(middle[0] >= seconds(5) && middle[0] < seconds(6));
    assert!(middle[1] >= seconds(60) && middle[1] < seconds(61));
    assert!(middle[2] >= seconds(600) && middle[2] < seconds(601));
    assert_eq!(middle[3..], [None, None]);
    assert_eq!(retry.delay(u32::MAX, 0), None);
    assert_eq!(retry.delay(0, 0), seconds(4));
    assert_eq!(retry.delay(0, u16::MAX), seconds(6));
}

#[test]
fn a_schedule_is_written_as_a_list() {
    assert_eq!(policy("none").as_deref(), Ok("none"));
    assert_eq!(policy("5s, 1m , 90s").as_deref(), Ok("5s,1m,1m30s"));
    assert_eq!(policy("1ms,24h").as_deref(), Ok("1ms,1d"));
    let at = |place: &str| Some(place.to_owned());
    assert_eq!(policy(""), Err(("bad_duration", at("[0]"))));
    assert_eq!(policy("5s,,1m"), Err(("bad_duration", at("[1]"))));
    assert_eq!(policy("5s,1"), Err(("bad_duration", at("[1]"))));
    assert_eq!(
        policy("5s,0s"),
        Err(("retry_delay_out_of_range", at("[1]")))
    );
    assert_eq!(
        policy("24h1ms"),
        Err(("retry_delay_out_of_range", at("[0]")))
    );
    let of = |n| vec!["1s"; n].join(",");
    assert!(policy(&of(20)).is_ok());
    assert_eq!(policy(&of(21)), Err(("too_many_retries", None)));
}

#[test]
fn a_schedule_may_double_its_delays_up_to_the_longest() {
    let list = policy("8x5s..1m");
    assert_eq!(list.as_deref(), Ok("5s,10s,20s,40s,1m,1m,1m,1m"));
    assert_eq!(policy("2x1s..1s").as_deref(), Ok("1s,1s"));
    assert_eq!(policy("0x1s..1m").as_deref(), Ok("none"));
    assert_eq!(
        policy("20x1ms..24h").map(|list| list.ends_with("8m44s288ms")),
        Ok(true)
    );
    for text in [
        "x",
        "3x",
        "3x5s",
        "x5s..1m",
        "-1x5s..1m",
        "+1x5s..1m",
        "3x1m..5s",
        "3.5x5s..1m",
    ] {
        assert_eq!(policy(text), Err(("bad_retry", None)), "{text}");
    }
    assert_eq!(policy("3x5s..long"), Err(("bad_duration", None)));
    assert_eq!(
        policy("3x0s..1m"),
        Err(("retry_delay_out_of_range", Some("[0]".to_owned())))
    );
    assert_eq!(
        policy("3x25h..26h"),
        Err(("retry_delay_out_of_range", Some("[0]".to_owned())))
    );
    let many = format!("{}x1s..1m", usize::MAX);
    assert_eq!(policy(&many), Err(("too_many_retries", None)));
}

#[test]
fn a_policy_tells_its_delays_in_order() {
    let doubled: RetryPolicy = "3x10s..30s".parse().expect("a schedule");
    assert_eq!(doubled.delays(), [10, 20, 30].map(Duration::from_secs));
    assert_eq!(doubled.window(), None);
}

#[test]
fn a_length_of_time_has_its_unit() {
    for (text, millis) in [
        ("0s", 0),
        ("500ms", 500),
        ("3s", 3_000),
        ("1m30s", 90_000),
        ("24h", 86_400_000),
        ("1d2h3m4s5ms", 93_784_005),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
    for text in [
        "",
        "3",
        "s",
        "-3s",
        "1.5s",
        "3 s",
        "3S",
        "3sec",
        "1s1m",
        "1s1s",
        "٣s",
        "99999999999999999999s",
        "999999999999999999d",
        "3s ",
        "1e3s",
    ] {
        assert_eq!(
            parse_duration(text).map_err(|e| e.code),
            Err("bad_duration"),
            "{text:?}"
        );
    }
}

#[test]
fn a_date_is_read_in_all_three_forms_of_http() {
    let minute_before = EXAMPLE - Duration::from_secs(60);
    for form in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " 60\t",
    ] {
        let read = retry_after(form.as_bytes(), minute_before);
        assert_eq!(read, Some(Duration::from_secs(60)), "{form}");
    }
    for form in [
        "Mon, 06 Nov 1994 08:49:37 GMT", // it was a Sunday
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "1994-11-06T08:49:37Z",
        "60, 70",
        "+60",
    ] {
        assert_eq!(retry_after(form.as_bytes(), minute_before), None, "{form}");
    }
}

prop_compose! {
    fn any_delay()(millis in 1..=86_400_000_u64) -> Duration { Duration::from_millis(millis) }
}

proptest! {
    #[test]
    fn a_delay_stays_within_a_fifth_and_never_shrinks_with_its_draw(
        delays in prop::collection::vec(any_delay(), 0..=20),
        tries in 0..30_u32,
        low: u16,
        high: u16,
    ) {
        let policy = RetryPolicy::new(delays.clone()).expect("within bounds");
        let (low, high) = (low.min(high), low.max(high));
        match delays.get(tries as usize) {
            None => prop_assert_eq!(policy.delay(tries, low), None),
            Some(&base) => {
                let (short, long) = (policy.delay(tries, low), policy.delay(tries, high));
                prop_assert!(short >= Some(base * 4 / 5) && short <= long && long <= Some(base * 6 / 5));
            }
        }
    }

    #[test]
    fn a_schedule_reads_back_as_it_is_written(delays in prop::collection::vec(any_delay(), 0..=20)) {
        let policy = RetryPolicy::new(delays).expect("within bounds");
        prop_assert_eq!(policy.to_string().parse(), Ok(policy));
    }

    #[test]
    fn a_length_of_time_reads_back_as_it_is_written(millis in 0..u64::MAX / 2) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn no_text_makes_reading_a_length_of_time_panic(text in ".{0,30}") {
        let _ = parse_duration(&text);
        let _ = text.parse::<RetryPolicy>();
    }

    #[test]
    fn no_bytes_make_reading_retry_after_panic(
        field in prop::collection::vec(any::<u8>(), 0..80),
        now: i64,
    ) {
        let _ = retry_after(&field, Timestamp::from_millis(now));
    }

    #[test]
    fn no_date_makes_reading_retry_after_panic(
        field in "(Sun|Mon|Friday|)[, ]{1,2}[0-9+-]{1,3}[ -](Nov|Feb|Xxx)[ -][0-9+-]{1,7} [0-9]{1,3}:[0-9]{2}:[0-9]{2}( GMT| [0-9+-]{1,8})",
        now: i64,
    ) {
        let _ = retry_after(field.as_bytes(), Timestamp::from_millis(now));
    }

    #[test]
    fn any_date_to_come_is_waited_for(seconds in 0..4_000_000_000_i64, wait in 0..MAX_DELAY.as_secs()) {
        let now = Timestamp::from_millis(seconds * 1_000);
        let then = chrono::DateTime::from_timestamp_millis((now + Duration::from_secs(wait)).as_millis())
            .expect("a time");
        let field = then.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        prop_assert_eq!(retry_after(field.as_bytes(), now), Some(Duration::from_secs(wait)));
    }
}
