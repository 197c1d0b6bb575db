//! The dashboard: pages for people, made here. They stand on what the API stands on: the same desk, the
//! same documents of what happened, the same words for what is refused.

mod campaigns;
mod chart;
mod counting;
mod deliveries;
mod events;
mod fields;
mod figures;
mod form;
mod guard;
mod layout;
mod live;
mod markup;
mod overview;
mod progress;
mod recent;
mod replays;
mod request;
mod sample;
mod session;
mod settings;
mod shared;
mod signin;
mod subscriptions;
mod trends;
mod visit;

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::from_fn_with_state,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tharsis::token::Permission::{Administer, Operate, Read};

use crate::{
    Route,
    routes::{Door, GET, POST, door, heavy},
    serve::House,
};

pub(crate) use layout::for_people;
pub(crate) use live::Streams;
pub(crate) use recent::Recent;
pub(crate) use session::Sessions;
pub(crate) use shared::Shared;

/// How long a page looks for what is rare. It then says how far it came, and leads on.
const PATIENCE: Duration = Duration::from_millis(150);

/// Every page, and what a token must be allowed of whom it is shown to. There is no other way in, but for `/sign-in`.
pub fn pages() -> Vec<Route> {
    served().into_iter().map(|(route, _)| route).collect()
}

/// The same, with what answers.
#[rustfmt::skip]
pub(crate) fn served() -> Vec<Door> {
    vec![
        door(GET, "/", Read, overview::show),
        door(POST, "/sign-out", Read, signin::end),

        door(GET, "/subscriptions", Read, subscriptions::list),
        door(GET, "/subscriptions/new", Administer, subscriptions::form),
        door(POST, "/subscriptions/new", Administer, subscriptions::create),
        door(GET, "/subscriptions/{id}", Read, subscriptions::show),
        door(POST, "/subscriptions/{id}/test", Operate, subscriptions::test),
        door(POST, "/subscriptions/{id}/pause", Operate, subscriptions::pause),
        door(POST, "/subscriptions/{id}/resume", Operate, subscriptions::resume),
        door(GET, "/subscriptions/{id}/rotate", Administer, subscriptions::rotation),
        door(POST, "/subscriptions/{id}/rotate", Administer, subscriptions::rotate),
        door(GET, "/subscriptions/{id}/edit", Administer, subscriptions::editing),
        door(POST, "/subscriptions/{id}/edit", Administer, subscriptions::edit),
        door(GET, "/subscriptions/{id}/filter", Read, subscriptions::filter),
        door(GET, "/subscriptions/{id}/remove", Administer, subscriptions::removal),
        door(POST, "/subscriptions/{id}/remove", Administer, subscriptions::remove),

        door(GET, "/deliveries", Read, deliveries::list),
        door(GET, "/deliveries/{event}/{subscription}", Read, deliveries::show),
        door(GET, "/deliveries/{event}/{subscription}/request", Operate, deliveries::request),
        door(POST, "/deliveries/{event}/{subscription}/retry", Operate, deliveries::retry),
        door(POST, "/deliveries/{event}/{subscription}/cancel", Operate, deliveries::cancel),

        door(GET, "/campaigns", Read, campaigns::find),
        door(GET, "/campaigns/{id}", Read, campaigns::show),
        door(POST, "/campaigns/{id}/pause", Operate, campaigns::pause),
        door(POST, "/campaigns/{id}/resume", Operate, campaigns::resume),
        door(GET, "/campaigns/{id}/cancel", Operate, campaigns::cancellation),
        door(POST, "/campaigns/{id}/cancel", Operate, campaigns::cancel),

        door(GET, "/replays", Read, replays::list),
        door(GET, "/replays/new", Operate, replays::form),
        heavy(door(POST, "/replays/new", Operate, replays::create)),
        door(GET, "/replays/{id}", Read, replays::show),
        door(POST, "/replays/{id}/pause", Operate, replays::pause),
        door(POST, "/replays/{id}/resume", Operate, replays::resume),
        door(POST, "/replays/{id}/cancel", Operate, replays::cancel),

        door(GET, "/events", Read, events::list),
        door(GET, "/events/{id}", Read, events::show),

        door(GET, "/settings", Read, settings::show),
        door(GET, "/settings/tokens", Administer, settings::tokens::list),
        door(POST, "/settings/tokens", Administer, settings::tokens::make),
        door(POST, "/settings/tokens/{id}/revoke", Administer, settings::tokens::revoke),
        door(GET, "/settings/audit", Administer, settings::audit::list),
        door(GET, "/settings/alerts", Read, settings::alerts::list),
        door(GET, "/settings/workers", Read, settings::workers::list),
        door(GET, "/settings/keys", Administer, settings::keys::list),
    ]
}

/// They come past the guard; to sign in, and to how pages look, everybody may come.
pub(crate) fn router(served: Vec<Door>, house: &House) -> Router<House> {
    let mut router = Router::new();
    for (route, answers) in served {
        router = router.route(route.path, answers);
    }
    router
        .route_layer(from_fn_with_state(house.clone(), guard::admit))
        .route("/sign-in", get(signin::form).post(signin::begin))
        .route("/static/style.css", fixed("text/css; charset=utf-8", STYLE))
        .route(
            "/static/live.js",
            fixed("text/javascript; charset=utf-8", SCRIPT),
        )
        .route("/static/icon.svg", fixed("image/svg+xml", ICON))
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
const ICON: &str = include_str!("icon.svg");

/// What is the same for everybody until the program is another one. Browsers ask each time whether it is, and are sent it
/// where they have another one.
fn fixed(kind: &'static str, text: &'static str) -> MethodRouter<House> {
    let tag = tag(text);
    get(move |asked: HeaderMap| async move {
        let is_known = is_known(&asked, &tag);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, tag),
        ];
        match is_known {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, text).into_response(),
        }
    })
}

/// Another one for each text.
fn tag(text: &str) -> HeaderValue {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(hash));
    HeaderValue::try_from(tag).expect("it is of letters, digits and quotes")
}

/// Whether whoever asks has what this is the tag of. A proxy that compresses answers makes a weak tag of it.
fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim);
    tags.any(|known| known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_has_is_not_sent_again_until_it_is_another_one() {
        let own = tag("a");
        let is_known = |known: &str| {
            let mut asked = HeaderMap::new();
            asked.insert(header::IF_NONE_MATCH, known.parse().expect("a value"));
            is_known(&asked, &own)
        };
        let text = own.to_str().expect("text");
        assert!(is_known(text));
        assert!(is_known(&format!("\"x\", W/{text}")));
        for known in ["", "\"x\"", text.trim_matches('"')] {
            assert!(!is_known(known), "{known}");
        }
        assert_ne!(own, tag("b"));
        assert!(!super::is_known(&HeaderMap::new(), &own));
    }
}
