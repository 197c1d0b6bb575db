//! The API as a document for programs, OpenAPI 3.1: what the handlers say of themselves, and what comes of each alike.

use serde_json::{Map, Value, json};
use tharsis::token::Role;
use utoipa::OpenApi;

use crate::{
    Route,
    api::{
        alerts, audit, campaigns, catalogue, deliveries, egress, events, replays, stats,
        subscriptions, tokens,
    },
    problem::ProblemDocument,
    routes,
};

/// What the handlers say of themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tharsis",
        description = "A webhook dispatcher. Whoever asks bears a token, which has a role and is for one client or for all; what is another client's is answered as if it did not exist. Instants are RFC 3339, spans are written `500ms`, `3s`, `1m30s`, `24h`, `7d`. A refusal is a problem (RFC 9457): programs match on its `code`.",
    ),
    tags(
        (name = "events", description = "Publishing, and looking at what was published."),
        (name = "subscriptions", description = "Who wants which events, and where."),
        (name = "deliveries", description = "What became of events for subscriptions."),
        (name = "replays", description = "Past deliveries, made due again."),
        (name = "campaigns", description = "How a campaign does, and stopping it."),
        (name = "alerts", description = "What people and subscriptions were told."),
        (name = "stats", description = "How it goes."),
        (name = "catalogue", description = "What is documented: types of events, outcomes, and the way out."),
        (name = "tokens", description = "Who may use the API."),
        (name = "audit", description = "Who did what to what."),
    ),
    components(schemas(ProblemDocument<'_>)),
    paths(
        events::publish,
        events::show,
        events::why,
        subscriptions::list,
        subscriptions::create,
        subscriptions::show,
        subscriptions::change,
        subscriptions::remove,
        subscriptions::rotate,
        subscriptions::test,
        subscriptions::filter_test,
        subscriptions::health,
        subscriptions::pause,
        subscriptions::resume,
        deliveries::list,
        deliveries::show,
        deliveries::retry,
        deliveries::cancel,
        replays::list,
        replays::create,
        replays::show,
        replays::pause,
        replays::resume,
        replays::cancel,
        campaigns::show,
        campaigns::pause,
        campaigns::resume,
        campaigns::cancel,
        alerts::list,
        stats::show,
        catalogue::event_types,
        catalogue::event_type,
        catalogue::outcomes,
        egress::show,
        tokens::list,
        tokens::create,
        tokens::revoke,
        audit::list,
    ),
)]
struct Said;

/// An operation, as it is asked what can come of it.
struct Asked<'a> {
    route: &'a Route,
    said: &'a Value,
}

impl Asked<'_> {
    fn changes(&self) -> bool {
        self.route.method != "GET"
    }

    fn has_body(&self) -> bool {
        self.said.get("requestBody").is_some()
    }

    /// Whether it reads what stands behind the question mark.
    fn is_list(&self) -> bool {
        self.parameters().any(|one| one["in"] == "query")
    }

    /// Whether it takes the version that is to be changed, or has to.
    fn names_version(&self, has_to: bool) -> bool {
        let version = self.parameters().find(|one| one["name"] == "If-Match");
        version.is_some_and(|one| !has_to || one["required"] == true)
    }

    fn is_of_campaign(&self) -> bool {
        self.route.path.starts_with("/v1/campaigns/")
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.said["parameters"].as_array().into_iter().flatten()
    }

    /// Whether it may ask for what is another's, or is not there.
    fn may_miss(&self) -> bool {
        !["/v1/events", "/v1/event-types", "/v1/outcomes"].contains(&self.route.path)
    }

    /// Whether it sends something to a receiver.
    fn calls_out(&self) -> bool {
        let name = self.said["operationId"].as_str().unwrap_or_default();
        matches!(
            name,
            "createSubscription" | "changeSubscription" | "testSubscription"
        )
    }
}

/// The problems that can come of many operations: status, name, what it tells, and of which.
type Known = (u16, &'static str, &'static str, fn(&Asked<'_>) -> bool);

#[rustfmt::skip]
const PROBLEMS: [Known; 13] = [
    (400, "BadRequest", "It takes no such parameter, or a header is malformed.", |_| true),
    (401, "Unauthorized", "It bears no token that counts.", |_| true),
    (403, "Forbidden", "It is not for a token of this role, or of this client.", |_| true),
    (404, "NotFound", "There is no such thing, or it is another client's.", |asked| asked.may_miss()),
    (409, "Conflict", "It clashes with what is there.", |asked| asked.changes() || asked.is_of_campaign()),
    (412, "PreconditionFailed", "Somebody has changed it since.", |asked| asked.names_version(false)),
    (413, "ContentTooLarge", "The body is larger than what is taken.", |asked| asked.has_body()),
    (415, "UnsupportedMediaType", "The body is of a type that is not taken.", |asked| asked.has_body()),
    (422, "UnprocessableContent", "A field or a parameter is wrong.", |asked| asked.changes() || asked.is_list()),
    (428, "PreconditionRequired", "It does not say which version is to be changed.", |asked| asked.names_version(true)),
    (429, "TooManyRequests", "It asks more often than is taken, or there is no room for more events.", |_| true),
    (500, "InternalServerError", "This process cannot send anything.", |asked| asked.calls_out()),
    (503, "ServiceUnavailable", "It was not done, or took too long: try again.", |_| true),
];

/// Bodies that need not be sent: then they are those of an empty object.
const BODILESS: [&str; 3] = ["CampaignChoice", "Resume", "Rotation"];

/// The document, in JSON. It is the same for the same program.
pub fn openapi() -> String {
    serde_json::to_string_pretty(&document()).expect("it is JSON")
}

/// The document.
pub(crate) fn document() -> Value {
    let mut document = serde_json::to_value(Said::openapi()).expect("it is JSON");
    document["security"] = json!([{ "token": [] }]);
    document["components"]["securitySchemes"] = json!({ "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "`tharsis token create` makes one.",
    }});
    let responses =
        PROBLEMS.map(|(status, name, told, _)| (name.to_owned(), problem(status, told)));
    document["components"]["responses"] = Map::from_iter(responses).into();
    for route in routes() {
        let method = route.method.as_str().to_lowercase();
        let said = (document["paths"].get_mut(route.path)).and_then(|path| path.get_mut(&method));
        if let Some(said) = said {
            complete(&route, said);
        }
    }
    each_object(&mut document, &mut told_in_one_line);
    each_object(&mut document["components"]["schemas"], &mut always_there);
    document
}

/// The name that a reference leads to.
pub(crate) fn referred(value: &Value) -> Option<&str> {
    value["$ref"].as_str()?.rsplit('/').next()
}

fn problem(status: u16, told: &str) -> Value {
    let text = json!({ "type": "string" });
    let headers = match status {
        401 => json!({ "WWW-Authenticate": { "schema": text } }),
        429 | 503 => json!({ "Retry-After": {
            "description": "Seconds after which to try again.",
            "schema": { "type": "integer", "minimum": 0 },
        }}),
        _ => json!({}),
    };
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let content = json!({ "application/problem+json": { "schema": schema } });
    json!({ "description": told, "headers": headers, "content": content })
}

/// Adds whom an operation is for, and the problems that can come of it.
fn complete(route: &Route, said: &mut Value) {
    let asked = Asked { route, said };
    let problems: Vec<_> = (PROBLEMS.iter())
        .filter(|(.., comes)| comes(&asked))
        .map(|(status, name, ..)| {
            let reference = format!("#/components/responses/{name}");
            (status.to_string(), json!({ "$ref": reference }))
        })
        .collect();
    for (status, problem) in problems {
        said["responses"][status] = problem;
    }
    let may = |role: &Role| role.may(route.permission);
    said["x-roles"] = (Role::ALL.into_iter().filter(may).map(Role::as_str)).collect();
    let body = said.pointer("/requestBody/content/application~1json/schema");
    let name = body.and_then(referred);
    if name.is_some_and(|name| BODILESS.contains(&name)) {
        said["requestBody"]["required"] = false.into();
    }
}

/// Comments are broken into lines where they are written.
fn told_in_one_line(object: &mut Map<String, Value>) {
    for key in ["summary", "description"] {
        if let Some(Value::String(told)) = object.get_mut(key) {
            let paragraphs = told.split("\n\n").map(|text| text.replace('\n', " "));
            *told = paragraphs.collect::<Vec<_>>().join("\n\n");
        }
    }
}

/// What is answered has all of its fields, null or not, but for those that are never null. What is asked, which takes no other
/// fields, need not.
fn always_there(schema: &mut Map<String, Value>) {
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        return;
    }
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return;
    };
    let is_required = |name: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let names: Vec<String> = (properties.iter())
        .filter(|(name, property)| is_nullable(property) || is_required(name))
        .map(|(name, _)| name.clone())
        .collect();
    if !names.is_empty() {
        schema.insert("required".to_owned(), names.into());
    }
}

fn is_nullable(property: &Value) -> bool {
    let is_null = |one: &Value| one == "null" || one["type"] == "null";
    let lists = ["type", "oneOf"].map(|key| property[key].as_array());
    lists.into_iter().flatten().flatten().any(is_null)
}

fn each_object(value: &mut Value, see: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            for value in object.values_mut() {
                each_object(value, see);
            }
        }
        Value::Array(items) => {
            for value in items {
                each_object(value, see);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each operation, with its method and its path.
    fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
        let paths = document["paths"].as_object().expect("there are paths");
        let each = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("it has methods");
            (methods.iter()).map(move |(method, said)| (method.to_uppercase(), path.as_str(), said))
        });
        each.collect()
    }

    #[test]
    fn each_door_is_described_and_nothing_else() {
        let document = document();
        let told: BTreeSet<(String, &str)> = (operations(&document).into_iter())
            .map(|(method, path, _)| (method, path))
            .collect();
        let doors: BTreeSet<(String, &str)> = (routes().into_iter())
            // What programs scrape describes itself.
            .filter(|route| route.path != "/metrics")
            .map(|route| (route.method.to_string(), route.path))
            .collect();
        assert_eq!(told, doors);
    }

    #[test]
    fn each_operation_has_a_name_a_group_and_says_what_it_does() {
        let document = document();
        let groups = document["tags"].as_array().expect("there are groups");
        let groups: Vec<&Value> = groups.iter().map(|tag| &tag["name"]).collect();
        let mut names = BTreeSet::new();
        for (method, path, said) in operations(&document) {
            let name = said["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{name} is there twice");
            assert!(said["summary"].is_string(), "{method} {path}");
            let tags = said["tags"].as_array().expect("a group");
            assert_eq!(tags.len(), 1, "{method} {path}");
            assert!(groups.contains(&&tags[0]), "{method} {path}");
            // Those of the path stand in its braces, and no others.
            for parameter in said["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                let is_there = path.contains(&format!("{{{name}}}"));
                let is_part = parameter["in"] == "path";
                assert_eq!(is_part, is_there, "{method} {path}: {name}");
            }
        }
    }

    #[test]
    fn each_reference_leads_somewhere() {
        let document = document();
        let mut references = BTreeSet::new();
        let mut note = |object: &mut Map<String, Value>| {
            let reference = object.get("$ref").and_then(Value::as_str);
            references.extend(reference.map(str::to_owned));
        };
        each_object(&mut document.clone(), &mut note);
        assert!(references.len() > 50, "{references:?}");
        for reference in references {
            let place = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }

    #[test]
    fn it_says_whose_it_is_and_how_to_come_in() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["title"], "Tharsis");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let change = &document["paths"]["/v1/subscriptions/{id}"]["patch"];
        assert_eq!(change["x-roles"], json!(["admin"]));
        for status in [
            "200", "401", "404", "412", "413", "415", "428", "500", "503",
        ] {
            assert!(change["responses"][status].is_object(), "{status}");
        }
        let list = &document["paths"]["/v1/event-types"]["get"]["responses"];
        for status in ["404", "409", "413", "422", "500"] {
            assert!(list[status].is_null(), "{status}");
        }
        assert_eq!(openapi(), openapi());
    }

    #[test]
    fn what_is_answered_has_its_nulls_and_what_is_asked_need_not() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let is_required = |schema: &Value, name: &str| {
            let required = schema["required"].as_array().expect("a list");
            required.iter().any(|one| one == name)
        };
        let subscription = &schemas["Subscription"];
        for name in ["id", "retry_window", "on_dead", "health"] {
            assert!(is_required(subscription, name), "{name}");
        }
        let made = &schemas["MadeSubscription"]["allOf"][1];
        assert!(made["properties"]["secret"].is_object(), "{made}");
        assert!(made["required"].is_null(), "{made}");
        assert_eq!(schemas["Registration"]["required"], json!(["name", "url"]));
        assert!(schemas["SubscriptionChange"]["required"].is_null());
        let detail = &schemas["DeliveryDetail"]["allOf"];
        assert_eq!(referred(&detail[0]), Some("Delivery"));
        assert!(is_required(&detail[1], "history"));
        assert!(schemas["DeliveryFilter"]["properties"]["status"]["oneOf"].is_array());
        assert!(is_required(&schemas["MissedFilter"], "subscription"));
    }
}
