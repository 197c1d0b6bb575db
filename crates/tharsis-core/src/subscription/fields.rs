use std::fmt;

use crate::{Invalid, bounds, json::Value};

/// The most fields that one subscription may choose.
const MOST_FIELDS: usize = 64;

/// The longest path, in characters.
const LONGEST_PATH: usize = 255;

/// Which fields of a payload a subscription wants; none chosen means all.
///
/// A path is the names on the way to a field, with dots between them. A field is kept with all that is in it; arrays are
/// gone into, so `predictions.name` keeps the name of each prediction. What is kept stays in its order.
///
/// # Examples
/// ```
/// use tharsis_core::{json, subscription::Fields};
///
/// let fields = Fields::parse(&["type".into(), "predictions.name".into()])?;
/// let mut payload = json::parse(br#"{"type":"x","predictions":[{"name":"a","discount":30},{"name":"b"}],"clientId":"c"}"#)?;
/// fields.choose(&mut payload);
/// assert_eq!(payload.to_vec(), br#"{"type":"x","predictions":[{"name":"a"},{"name":"b"}]}"#);
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<Box<str>>);

impl Fields {
    /// Takes paths; what is chosen twice is chosen once.
    ///
    /// # Errors
    /// `bad_field_path`, `too_long`, `too_many_fields`, `control_character`, with the place in the list.
    pub fn parse(paths: &[String]) -> Result<Self, Invalid> {
        if paths.len() > MOST_FIELDS {
            return Err(Invalid::new(
                "too_many_fields",
                format!("there are more than {MOST_FIELDS} fields"),
            ));
        }
        let mut chosen: Vec<Box<str>> = Vec::with_capacity(paths.len());
        for (i, path) in paths.iter().enumerate() {
            let at = |e: Invalid| e.at(format!("[{i}]"));
            if path.split('.').any(str::is_empty) {
                return Err(at(Invalid::new("bad_field_path", "is no path of a field")
                    .hint(
                        "write the names on the way to it, with dots: content.title",
                    )));
            }
            bounds::text(path, LONGEST_PATH).map_err(at)?;
            if !chosen.iter().any(|known| **known == **path) {
                chosen.push(path.as_str().into());
            }
        }
        Ok(Self(chosen))
    }

    /// Whether nothing is chosen, which means all.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths in the order in which they were chosen.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|path| &**path)
    }

    /// Takes out of a payload what is not chosen.
    pub fn choose(&self, payload: &mut Value<'_>) {
        if !self.is_all() {
            let paths: Vec<&str> = self.paths().collect();
            keep(payload, &paths);
        }
    }
}

/// Keeps what is at the end of one of the paths; says whether anything is.
fn keep(value: &mut Value<'_>, paths: &[&str]) -> bool {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| {
                let below: Vec<&str> = paths
                    .iter()
                    .filter_map(|path| path.strip_prefix(name))
                    .filter_map(|rest| match rest.strip_prefix('.') {
                        Some(rest) => Some(rest),
                        None => rest.is_empty().then_some(""),
                    })
                    .collect();
                below.contains(&"") || (!below.is_empty() && keep(value, &below))
            });
            !object.is_empty()
        }
        Value::Array(values) => {
            values.retain_mut(|value| keep(value, paths));
            !values.is_empty()
        }
        _ => false,
    }
}

/// With commas between the paths.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}
