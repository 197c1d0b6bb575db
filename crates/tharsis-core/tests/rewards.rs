//! The rewards of Nudge: what is built is what is documented, and both ways in are judged alike.

use tharsis_core::{
    Invalid, Timestamp,
    event::Event,
    payload::{
        Reward,
        reward::{Coupon, CouponType, Instance},
    },
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const COIN: &str = r#"{"id":"i-1","reward_id":"r-1","reward_name":"10 Rs Off","nudge_id":"n-1","ext_id":"3594918","task_id":"monsoon","quantity":10,"coin":{"value":1},"created_at":"2024-07-04T12:53:58.129Z"}"#;
const COUPON: &str = r#"{"id":"i-1","reward_id":"r-1","reward_name":"10 Rs Off","nudge_id":"n-1","ext_id":"3594918","task_id":"monsoon","quantity":10,"coupon":{"code":"ABCD","discount":20,"type":1,"expiry_at":null},"created_at":"2024-07-04T12:53:58.129Z"}"#;

#[test]
fn a_built_reward_is_the_enveloped_one() {
    let coin = Reward::new()
        .client_id(CLIENT)
        .reward(instance().coin(1.0))
        .event()
        .unwrap();
    assert_eq!(coin.payload(), rewards(&[COIN]).as_str());
    assert_eq!(coin, publish(&[COIN]).unwrap());
    assert_eq!(coin.event_type().as_str(), "reward.earned");

    let flat = Coupon::new("ABCD", CouponType::Flat, 20.0);
    let coupon = Reward::new()
        .client_id(CLIENT)
        .reward(instance().coupon(flat))
        .event()
        .unwrap();
    assert_eq!(coupon, publish(&[COUPON]).unwrap());

    let percentage = Coupon::new("WXYZ", CouponType::Percentage, 12.5).expiry_at("31 Dec 2024");
    let both = Reward::new()
        .client_id(CLIENT)
        .reward(instance().coin(1.0))
        .reward(instance().coupon(percentage))
        .event()
        .unwrap();
    let second = COUPON.replace(
        r#"{"code":"ABCD","discount":20,"type":1,"expiry_at":null}"#,
        r#"{"code":"WXYZ","discount":12.5,"type":2,"expiry_at":"31 Dec 2024"}"#,
    );
    assert_eq!(both.payload(), rewards(&[COIN, &second]).as_str());
}

#[test]
fn task_and_user_are_those_of_the_first_reward() {
    let second = COUPON
        .replace("monsoon", "diwali")
        .replace("3594918", "3594919");
    let event = publish(&[COIN, &second]).unwrap();
    assert_eq!(event.campaign(), Some("monsoon"));
    assert_eq!(event.recipient(), Some("3594918"));
    assert_eq!(event.expires_at(), None);
}

#[test]
fn times_are_sent_as_they_were_handed_over() {
    let offset = COIN.replace("2024-07-04T12:53:58.129Z", "2024-07-04T18:23:58.129+05:30");
    let event = publish(&[&offset]).unwrap();
    assert_eq!(event.payload(), rewards(&[&offset]).as_str());
}

#[test]
fn a_bad_reward_is_refused_by_the_name_of_its_field() {
    let coupon = r#""coupon":{"code":"ABCD","discount":20,"type":1,"expiry_at":null},"#;
    let refused = [
        (r#""id":"i-1","#, ""),
        (r#""reward_id":"r-1""#, r#""reward_id":"""#),
        (r#""reward_name":"10 Rs Off""#, r#""reward_name":10"#),
        (r#""nudge_id":"n-1""#, r#""nudge_id":null"#),
        (r#""ext_id":"3594918""#, r#""ext_id":3594918"#),
        (r#""task_id":"monsoon","#, ""),
        (r#""quantity":10"#, r#""quantity":0"#),
        (r#""quantity":10"#, r#""quantity":-1"#),
        (r#""quantity":10"#, r#""quantity":1.5"#),
        (r#""quantity":10"#, r#""quantity":"10""#),
        (coupon, ""),
        (coupon, &format!(r#"{coupon}"coin":{{"value":1}},"#)),
        (coupon, r#""coin":{"value":"1"},"#),
        (coupon, r#""coin":{"value":-1},"#),
        (coupon, r#""coin":{},"#),
        (coupon, &format!(r#"{coupon}"coin":null,"#)),
        (r#""code":"ABCD""#, r#""code":" ""#),
        (r#""discount":20,"#, ""),
        (r#""type":1"#, r#""type":3"#),
        (r#""type":1"#, r#""type":0"#),
        (r#""type":1"#, r#""type":1.5"#),
        (r#""type":1"#, r#""type":"flat""#),
        (r#","expiry_at":null"#, ""),
        (r#""expiry_at":null"#, r#""expiry_at":0"#),
        (r#","created_at":"2024-07-04T12:53:58.129Z""#, ""),
        ("2024-07-04T12:53:58.129Z", "2024-07-04 12:53"),
    ]
    .map(|(from, to)| {
        let second = changed(COUPON, from, to);
        refusal(to, publish(&[COIN, &second]))
    });
    insta::assert_snapshot!(refused.concat(), @r#"
     => missing_field | payload.rewards[1].id: is missing
    "reward_id":"" => empty | payload.rewards[1].reward_id: is empty
    "reward_name":10 => wrong_type | payload.rewards[1].reward_name: is a number, not a string
    "nudge_id":null => wrong_type | payload.rewards[1].nudge_id: is null, not a string
    "ext_id":3594918 => wrong_type | payload.rewards[1].ext_id: is a number, not a string
     => missing_field | payload.rewards[1].task_id: is missing
    "quantity":0 => out_of_range | payload.rewards[1].quantity: is less than 1
    "quantity":-1 => out_of_range | payload.rewards[1].quantity: is less than 1
    "quantity":1.5 => wrong_type | payload.rewards[1].quantity: is a fraction, not an integer
    "quantity":"10" => wrong_type | payload.rewards[1].quantity: is a string, not a number
     => coin_or_coupon | payload.rewards[1]: has neither coin nor coupon
    "coupon":{"code":"ABCD","discount":20,"type":1,"expiry_at":null},"coin":{"value":1}, => coin_or_coupon | payload.rewards[1]: has both coin and coupon (make them two rewards)
    "coin":{"value":"1"}, => wrong_type | payload.rewards[1].coin.value: is a string, not a number
    "coin":{"value":-1}, => out_of_range | payload.rewards[1].coin.value: is negative
    "coin":{}, => missing_field | payload.rewards[1].coin.value: is missing
    "coupon":{"code":"ABCD","discount":20,"type":1,"expiry_at":null},"coin":null, => wrong_type | payload.rewards[1].coin: is null (leave the field out)
    "code":" " => empty | payload.rewards[1].coupon.code: is empty
     => missing_field | payload.rewards[1].coupon.discount: is missing
    "type":3 => out_of_range | payload.rewards[1].coupon.type: is not from 1 to 2
    "type":0 => out_of_range | payload.rewards[1].coupon.type: is not from 1 to 2
    "type":1.5 => wrong_type | payload.rewards[1].coupon.type: is a fraction, not an integer
    "type":"flat" => wrong_type | payload.rewards[1].coupon.type: is a string, not a number
     => missing_field | payload.rewards[1].coupon.expiry_at: is missing
    "expiry_at":0 => wrong_type | payload.rewards[1].coupon.expiry_at: is a number, not a string
     => missing_field | payload.rewards[1].created_at: is missing
    2024-07-04 12:53 => bad_time | payload.rewards[1].created_at: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    "#);

    insta::assert_snapshot!(refusal("[]", publish(&[])), @"[] => empty | payload.rewards: holds fewer than 1");
    insta::assert_snapshot!(refusal("[null]", publish(&["null"])), @"[null] => wrong_type | payload.rewards[0]: is null, not an object");
}

#[test]
fn a_builder_is_judged_like_text() {
    let of = |reward| Reward::new().client_id(CLIENT).reward(reward).event();
    let flat = |discount| Coupon::new("ABCD", CouponType::Flat, discount);
    let refused = [
        Reward::new().reward(instance().coin(1.0)).event(),
        Reward::new().client_id("acme").event(),
        Reward::new().client_id(CLIENT).event(),
        of(Instance::new()),
        of(instance()),
        of(instance().coin(1.0).coupon(flat(20.0))),
        of(instance().coin(f64::NAN)),
        of(instance().coupon(flat(-20.0))),
        of(instance().coin(1.0).quantity(0)),
        of(instance().coupon(flat(20.0).expiry_at("a\nb"))),
    ]
    .map(|refused| refusal("built", refused));
    insta::assert_snapshot!(refused.concat(), @"
    built => missing_field | client: is missing
    built => bad_uuid | client: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    built => empty | rewards: holds fewer than 1
    built => missing_field | rewards[0].id: is missing
    built => coin_or_coupon | rewards[0]: has neither coin nor coupon
    built => coin_or_coupon | rewards[0]: has both coin and coupon (make them two rewards)
    built => number_out_of_range | rewards[0].coin.value: is not a finite number
    built => out_of_range | rewards[0].coupon.discount: is negative
    built => out_of_range | rewards[0].quantity: is less than 1
    built => control_character | rewards[0].coupon.expiry_at: holds a control character
    ");
}

fn instance() -> Instance {
    Instance::new()
        .id("i-1")
        .reward_id("r-1")
        .reward_name("10 Rs Off")
        .nudge_id("n-1")
        .ext_id("3594918")
        .task_id("monsoon")
        .quantity(10)
        .created_at(Timestamp::parse("2024-07-04T12:53:58.129Z").unwrap())
}

fn rewards(rewards: &[&str]) -> String {
    format!(r#"{{"rewards":[{}]}}"#, rewards.join(","))
}

fn publish(all: &[&str]) -> Result<Event, Invalid> {
    let payload = rewards(all);
    let envelope = format!(r#"{{"type":"reward.earned","client":"{CLIENT}","payload":{payload}}}"#);
    Event::parse(envelope.as_bytes())
}

fn changed(sample: &str, from: &str, to: &str) -> String {
    assert!(sample.contains(from), "{from} is not in the sample");
    sample.replacen(from, to, 1)
}

fn refusal(change: &str, refused: Result<Event, Invalid>) -> String {
    let error = refused.expect_err(change);
    format!("{change} => {} | {error}\n", error.code)
}
