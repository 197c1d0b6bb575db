//! Every door of the API, and what it takes to go through.

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use tharsis::token::Permission::{self, Administer, Operate, Publish, Read};

use crate::{
    api::{
        alerts, audit, campaigns, catalogue, deliveries, egress, events, replays, stats,
        subscriptions, tokens,
    },
    observe,
    serve::House,
};

/// A method on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, …
    pub method: Method,
    /// With its parameters in braces: `/v1/subscriptions/{id}`.
    pub path: &'static str,
    /// What a token's role must allow.
    pub permission: Permission,
    /// Whether answering it goes through all there is, so that one such request is answered at a time.
    pub is_heavy: bool,
}

/// All of them. There is no other way in, but for `/healthz` and `/readyz`, which tell next to nothing, and for `/openapi.json`
/// and `/docs`, which tell what is here.
pub fn routes() -> Vec<Route> {
    served().into_iter().map(|(route, _)| route).collect()
}

/// A door, and what answers behind it.
pub(crate) type Door = (Route, MethodRouter<House>);

pub(crate) fn door<H: Handler<T, House>, T: 'static>(
    (method, filter): (Method, MethodFilter),
    path: &'static str,
    permission: Permission,
    answers: H,
) -> Door {
    let route = Route {
        method,
        path,
        permission,
        is_heavy: false,
    };
    (route, on(filter, answers))
}

/// The same door, where what is behind it goes through all there is.
pub(crate) fn heavy((mut route, answers): Door) -> Door {
    route.is_heavy = true;
    (route, answers)
}

pub(crate) const GET: (Method, MethodFilter) = (Method::GET, MethodFilter::GET);
pub(crate) const POST: (Method, MethodFilter) = (Method::POST, MethodFilter::POST);
const PATCH: (Method, MethodFilter) = (Method::PATCH, MethodFilter::PATCH);
const DELETE: (Method, MethodFilter) = (Method::DELETE, MethodFilter::DELETE);

/// The same, with what answers.
#[rustfmt::skip]
pub(crate) fn served() -> Vec<Door> {
    vec![
        door(POST, "/v1/events", Publish, events::publish),
        door(GET, "/v1/events/{id}", Read, events::show),
        door(GET, "/v1/events/{id}/why", Read, events::why),

        door(GET, "/v1/subscriptions", Read, subscriptions::list),
        door(POST, "/v1/subscriptions", Administer, subscriptions::create),
        door(GET, "/v1/subscriptions/{id}", Read, subscriptions::show),
        door(PATCH, "/v1/subscriptions/{id}", Administer, subscriptions::change),
        door(DELETE, "/v1/subscriptions/{id}", Administer, subscriptions::remove),
        door(POST, "/v1/subscriptions/{id}/rotate", Administer, subscriptions::rotate),
        door(POST, "/v1/subscriptions/{id}/test", Operate, subscriptions::test),
        door(POST, "/v1/subscriptions/{id}/filter-test", Read, subscriptions::filter_test),
        door(GET, "/v1/subscriptions/{id}/health", Read, subscriptions::health),
        door(POST, "/v1/subscriptions/{id}/pause", Operate, subscriptions::pause),
        door(POST, "/v1/subscriptions/{id}/resume", Operate, subscriptions::resume),

        door(GET, "/v1/deliveries", Read, deliveries::list),
        door(GET, "/v1/deliveries/{event}/{subscription}", Read, deliveries::show),
        door(POST, "/v1/deliveries/{event}/{subscription}/retry", Operate, deliveries::retry),
        door(POST, "/v1/deliveries/{event}/{subscription}/cancel", Operate, deliveries::cancel),

        door(GET, "/v1/replays", Read, replays::list),
        heavy(door(POST, "/v1/replays", Operate, replays::create)),
        door(GET, "/v1/replays/{id}", Read, replays::show),
        door(POST, "/v1/replays/{id}/pause", Operate, replays::pause),
        door(POST, "/v1/replays/{id}/resume", Operate, replays::resume),
        door(POST, "/v1/replays/{id}/cancel", Operate, replays::cancel),

        heavy(door(GET, "/v1/campaigns/{campaign}", Read, campaigns::show)),
        door(POST, "/v1/campaigns/{campaign}/pause", Operate, campaigns::pause),
        door(POST, "/v1/campaigns/{campaign}/resume", Operate, campaigns::resume),
        door(POST, "/v1/campaigns/{campaign}/cancel", Operate, campaigns::cancel),

        door(GET, "/v1/alerts", Read, alerts::list),
        heavy(door(GET, "/v1/stats", Read, stats::show)),
        door(GET, "/v1/event-types", Read, catalogue::event_types),
        door(GET, "/v1/event-types/{name}", Read, catalogue::event_type),
        door(GET, "/v1/outcomes", Read, catalogue::outcomes),
        door(GET, "/v1/egress", Read, egress::show),

        door(GET, "/v1/tokens", Administer, tokens::list),
        door(POST, "/v1/tokens", Administer, tokens::create),
        door(DELETE, "/v1/tokens/{id}", Administer, tokens::revoke),
        door(GET, "/v1/audit", Administer, audit::list),

        door(GET, "/metrics", Read, observe::metrics),
    ]
}
