//! Every door of the API, and what it takes to go through.

use axum::{
    http::Method,
    routing::{MethodRouter, get, post},
};
use tharsis::token::Permission;

use crate::{
    api::{audit, deliveries, events, subscriptions},
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
}

/// All of them. There is no other way in, but for `/healthz`, which tells nothing.
pub fn routes() -> Vec<Route> {
    served().into_iter().map(|(route, _)| route).collect()
}

/// The same, with what answers.
pub(crate) fn served() -> Vec<(Route, MethodRouter<House>)> {
    use Permission::{Administer, Operate, Publish, Read};

    let on = |method, path, permission, answers| {
        (
            Route {
                method,
                path,
                permission,
            },
            answers,
        )
    };
    let (get_, post_) = (Method::GET, Method::POST);
    vec![
        on(post_.clone(), "/v1/events", Publish, post(events::publish)),
        on(get_.clone(), "/v1/events/{id}", Read, get(events::show)),
        on(
            get_.clone(),
            "/v1/subscriptions",
            Read,
            get(subscriptions::list),
        ),
        on(
            get_.clone(),
            "/v1/subscriptions/{id}",
            Read,
            get(subscriptions::show),
        ),
        on(
            post_.clone(),
            "/v1/subscriptions/{id}/pause",
            Operate,
            post(subscriptions::pause),
        ),
        on(
            post_.clone(),
            "/v1/subscriptions/{id}/resume",
            Operate,
            post(subscriptions::resume),
        ),
        on(get_.clone(), "/v1/deliveries", Read, get(deliveries::list)),
        on(
            get_.clone(),
            "/v1/deliveries/{event}/{subscription}",
            Read,
            get(deliveries::show),
        ),
        on(
            post_.clone(),
            "/v1/deliveries/{event}/{subscription}/retry",
            Operate,
            post(deliveries::retry),
        ),
        on(
            post_,
            "/v1/deliveries/{event}/{subscription}/cancel",
            Operate,
            post(deliveries::cancel),
        ),
        on(get_, "/v1/audit", Administer, get(audit::list)),
    ]
}
