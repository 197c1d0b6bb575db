//! The document as a page for people: HTML without scripts, and one sheet that says how it looks.

use serde_json::{Map, Value};

use crate::openapi::referred;

/// How it looks.
pub(crate) const SHEET: &str = include_str!("docs.css");

/// What limits a value, and how it is told.
const LIMITS: [(&str, &str); 7] = [
    ("format", ""),
    ("pattern", "like "),
    ("minimum", "at least "),
    ("maximum", "at most "),
    ("minLength", "no shorter than "),
    ("maxLength", "no longer than "),
    ("maxItems", "no more than "),
];

/// The page of a document.
pub(crate) fn page(document: &Value) -> String {
    let (info, tags) = (&document["info"], list(&document["tags"]));
    let title = format!("{} {}", text(&info["title"]), text(&info["version"]));
    let groups: Vec<(&Value, Vec<Operation<'_>>)> = (tags.iter())
        .map(|tag| (tag, operations(document, tag)))
        .collect();
    let contents: String = groups.iter().map(|(tag, all)| contents(tag, all)).collect();
    let sections: String = groups.iter().map(|(tag, all)| section(tag, all)).collect();
    let schemas: String = (entries(&document["components"]["schemas"]))
        .map(|(name, schema)| article(name, schema))
        .collect();
    let told = prose(&info["description"]);
    format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: the HTTP API</title>
<link rel="stylesheet" href="/docs.css">
</head>
<body>
<header>
<h1>{title}: the HTTP API</h1>
{told}<p>For programs: <a href="/openapi.json">openapi.json</a>. Each problem is a <a href="#schema-Problem">Problem</a>.</p>
</header>
<nav aria-label="Operations">
{contents}<p><a href="#schemas">Schemas</a></p>
</nav>
<main>
{sections}<section id="schemas">
<h2>Schemas</h2>
{schemas}</section>
</main>
</body>
</html>
"##
    )
}

/// A method, a path, and what is said of them.
type Operation<'a> = (String, &'a str, &'a Value);

/// Those of a group.
fn operations<'a>(document: &'a Value, tag: &Value) -> Vec<Operation<'a>> {
    let all = entries(&document["paths"]).flat_map(|(path, methods)| {
        entries(methods).map(move |(method, said)| (method.to_uppercase(), path, said))
    });
    all.filter(|(.., said)| list(&said["tags"]).contains(&tag["name"]))
        .collect()
}

fn contents(tag: &Value, all: &[Operation<'_>]) -> String {
    let links = all.iter().map(|(method, path, said)| {
        let (id, told) = (text(&said["operationId"]), inline(&said["summary"]));
        let path = escaped(path);
        format!("<li><a href=\"#{id}\"><b>{method}</b> <code>{path}</code></a> {told}</li>\n")
    });
    let (name, links) = (text(&tag["name"]), links.collect::<String>());
    format!("<h2><a href=\"#group-{name}\">{name}</a></h2>\n<ul>\n{links}</ul>\n")
}

fn section(tag: &Value, all: &[Operation<'_>]) -> String {
    let (name, told) = (text(&tag["name"]), prose(&tag["description"]));
    let articles: String = all.iter().map(operation).collect();
    format!("<section id=\"group-{name}\">\n<h2>{name}</h2>\n{told}{articles}</section>\n")
}

fn operation((method, path, said): &Operation<'_>) -> String {
    let (id, path) = (text(&said["operationId"]), escaped(path));
    let (summary, told) = (prose(&said["summary"]), prose(&said["description"]));
    let roles = list(&said["x-roles"]).iter().map(text);
    let roles = roles.collect::<Vec<_>>().join(", ");
    let parameters = list(&said["parameters"]).iter().map(|one| {
        let (place, needed) = (text(&one["in"]), needed(one["required"] == true));
        let cells = [text(&one["name"]), place, kind(&one["schema"]), needed];
        row(&cells, &inline(&one["description"]))
    });
    let parameters = table(&["Parameter", "In", "Type", "", ""], parameters.collect());
    let body = &said["requestBody"];
    let bodies = content(body).map(|(media, schema)| {
        let needed = needed(body["required"] == true);
        row(&[media, schema, needed], &inline(&body["description"]))
    });
    let bodies = table(&["Body", "Type", "", ""], bodies.collect());
    let answers = entries(&said["responses"]).map(|(status, answer)| {
        let schemas: Vec<String> = content(answer).map(|(_, schema)| schema).collect();
        let headers: Vec<String> = entries(&answer["headers"])
            .map(|(name, _)| format!("<code>{}</code>", escaped(name)))
            .collect();
        let told = match referred(answer) {
            Some(name) => escaped(name),
            None => inline(&answer["description"]),
        };
        let cells = [escaped(status), schemas.join(", "), headers.join(", ")];
        row(&cells, &told)
    });
    let answers = table(&["Answer", "Type", "Headers", ""], answers.collect());
    format!(
        "<article id=\"{id}\">\n<h3><b>{method}</b> <code>{path}</code></h3>\n{summary}{told}<p>For: {roles}.</p>\n{parameters}{bodies}{answers}</article>\n"
    )
}

/// A schema by its name.
fn article(name: &str, schema: &Value) -> String {
    let name = escaped(name);
    let (told, shape) = (prose(&schema["description"]), shape(schema));
    format!("<article id=\"schema-{name}\">\n<h3>{name}</h3>\n{told}{shape}</article>\n")
}

/// The fields of an object; of anything else what it is.
fn shape(schema: &Value) -> String {
    let parts = list(&schema["allOf"]);
    if !parts.is_empty() {
        return parts.iter().map(shape).collect();
    }
    let fields = entries(&schema["properties"]).map(|(name, field)| {
        let is_needed = list(&schema["required"]).iter().any(|one| one == name);
        let cells = [escaped(name), kind(field), needed(is_needed)];
        row(&cells, &inline(&field["description"]))
    });
    match table(&["Field", "Type", "", ""], fields.collect()) {
        fields if fields.is_empty() => format!("<p>{}</p>\n", kind(schema)),
        fields => fields,
    }
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        let name = escaped(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for (key, between) in [("oneOf", " or "), ("allOf", " and ")] {
        let parts: Vec<String> = list(&schema[key]).iter().map(kind).collect();
        if !parts.is_empty() {
            return parts.join(between);
        }
    }
    let words: Vec<String> = (list(&schema["enum"]).iter())
        .map(|word| format!("<code>{}</code>", text(word)))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(one) => escaped(one),
        _ => "anything".to_owned(),
    };
    let of = match (&schema["items"], &schema["additionalProperties"]) {
        (Value::Null, Value::Object(_)) => format!(" of {}", kind(&schema["additionalProperties"])),
        (Value::Null, _) => String::new(),
        (items, _) => format!(" of {}", kind(items)),
    };
    let limits = LIMITS.iter().filter_map(|(key, told)| match &schema[key] {
        Value::Null => None,
        Value::String(limit) => Some(format!(", {told}<code>{}</code>", escaped(limit))),
        limit => Some(format!(", {told}{limit}")),
    });
    format!("{types}{of}{}", limits.collect::<String>())
}

/// What a body or an answer may be: each media type, and the schema of it.
fn content(of: &Value) -> impl Iterator<Item = (String, String)> {
    entries(&of["content"]).map(|(media, said)| (escaped(media), kind(&said["schema"])))
}

fn needed(is_needed: bool) -> String {
    let told = if is_needed { "needed" } else { "" };
    told.to_owned()
}

/// Cells that hold HTML; the first is what the row is of, and prose comes last.
fn row(cells: &[String], told: &str) -> String {
    let (of, rest) = cells.split_first().expect("a row is of something");
    let rest: String = rest.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><th scope=\"row\"><code>{of}</code></th>{rest}<td>{told}</td></tr>\n")
}

/// Nothing where there are no rows.
fn table(columns: &[&str], rows: String) -> String {
    if rows.is_empty() {
        return rows;
    }
    let heads = columns.iter().map(|column| match *column {
        "" => "<td></td>".to_owned(),
        column => format!("<th scope=\"col\">{column}</th>"),
    });
    let heads = heads.collect::<String>();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.as_object().into_iter().flat_map(Map::iter);
    entries.map(|(name, value)| (name.as_str(), value))
}

/// Text as it is, without what HTML would make of it.
fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    (text.replace('&', "&amp;").replace('<', "&lt;"))
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// The same, and what stands in backticks is code.
fn inline(value: &Value) -> String {
    let text = text(value);
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    parts.collect()
}

/// The same in paragraphs.
fn prose(value: &Value) -> String {
    let told = inline(value);
    let paragraphs = told.split("\n\n").filter(|told| !told.is_empty());
    paragraphs.map(|told| format!("<p>{told}</p>\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openapi::document;

    #[test]
    fn whatever_the_document_says_is_text() {
        let wild = "<script>alert('1')</script>\"&`a<b`";
        let document = json!({
            "info": { "title": wild, "version": wild, "description": wild },
            "tags": [{ "name": wild, "description": wild }],
            "paths": { wild: { "get": {
                "tags": [wild],
                "operationId": wild,
                "summary": wild,
                "parameters": [{ "name": wild, "in": wild, "schema": { "pattern": wild } }],
                "requestBody": { "content": { wild: { "schema": { "$ref": wild } } } },
                "responses": { wild: { "description": wild, "headers": { wild: {} } } },
            }}},
            "components": { "schemas": { wild: {
                "properties": { wild: { "type": [wild], "enum": [wild], "description": wild } },
            }}},
        });
        let page = page(&document);
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("alert('1')"), "{page}");
        assert!(page.contains("<code>a&lt;b</code>"), "{page}");
    }

    #[test]
    fn each_link_within_the_page_leads_somewhere() {
        let page = page(&document());
        let mut links = page.split("href=\"#").skip(1).peekable();
        assert!(links.peek().is_some());
        for link in links {
            let (id, _) = link.split_once('"').expect("it ends");
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        for absent in ["<script", "style=", "http://", "https://"] {
            assert!(!page.contains(absent), "{absent}");
        }
    }
}
