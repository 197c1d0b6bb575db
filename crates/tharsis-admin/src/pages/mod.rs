//! The dashboard: pages for people, made here. They stand on what the API stands on: the same desk, the
//! same documents of what happened, the same words for what is refused.

mod campaigns;
mod chart;
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
mod signin;
mod subscriptions;
mod trends;
mod visit;

use axum::{
    Router,
    http::header,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use tharsis::token::Permission::{Administer, Operate, Read};

use crate::{
    Route,
    routes::{Door, GET, POST, door, heavy},
    serve::House,
};

pub(crate) use figures::Figures;
pub(crate) use layout::for_people;
pub(crate) use live::Streams;
pub(crate) use recent::Recent;
pub(crate) use session::Sessions;

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
        heavy(door(GET, "/campaigns/{id}", Read, campaigns::show)),
        door(POST, "/campaigns/{id}/pause", Operate, campaigns::pause),
        door(POST, "/campaigns/{id}/resume", Operate, campaigns::resume),
        door(GET, "/campaigns/{id}/cancel", Operate, campaigns::cancellation),
        door(POST, "/campaigns/{id}/cancel", Operate, campaigns::cancel),

        door(GET, "/replays", Read, replays::list),
        heavy(door(GET, "/replays/new", Operate, replays::form)),
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
        heavy(door(GET, "/settings/workers", Read, settings::workers::list)),
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
        .route("/static/style.css", get(style))
        .route("/static/live.js", get(script))
        .route("/static/icon.svg", get(icon))
}

async fn style() -> Response {
    fixed("text/css; charset=utf-8", include_str!("style.css"))
}

async fn script() -> Response {
    fixed("text/javascript; charset=utf-8", include_str!("live.js"))
}

async fn icon() -> Response {
    fixed("image/svg+xml", include_str!("icon.svg"))
}

/// What is the same for everybody until the program is another one.
fn fixed(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, text).into_response()
}
