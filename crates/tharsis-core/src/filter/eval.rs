//! What an expression comes to for one payload, in a bounded number of steps.

use std::{cmp::Ordering, rc::Rc};

use super::{
    Why,
    tree::{Binary, Loop, Node, What},
};
use crate::json::{self, Object};

/// How much work one answer may take. A step is an operation on one value: a node of the expression, an element that is
/// looked at, 4 fields of an object in which a name is looked for, 8 bytes of a text that are searched, or 64 that are
/// compared or counted. To make an array takes 8.
///
/// Measured once, in release, with payloads of 262,144 bytes and 38 expressions that were made to be slow: the slowest
/// answer took 6 ms (ADR 12).
pub const MAX_STEPS: usize = 500_000;

/// What making an array takes, beside its elements.
const MAKE: usize = 8;

/// What it comes to, and how many steps that took.
pub(super) fn eval(root: &Node, payload: &json::Value<'_>) -> (Result<bool, Why>, usize) {
    let mut run = Run {
        steps: MAX_STEPS,
        variables: vec![Value::of(payload)],
    };
    let result = run.boolean(root);
    (result, MAX_STEPS - run.steps)
}

#[derive(Clone)]
enum Value<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'a str),
    Array(&'a [json::Value<'a>]),
    Object(&'a Object<'a>),
    /// An array that the expression made.
    Made(Rc<[Self]>),
}

impl<'a> Value<'a> {
    fn of(value: &'a json::Value<'a>) -> Self {
        match value {
            json::Value::Null => Self::Null,
            json::Value::Bool(is) => Self::Bool(*is),
            json::Value::Number(number) => Self::Number(*number),
            json::Value::String(text) => Self::Text(text),
            json::Value::Array(values) => Self::Array(values),
            json::Value::Object(object) => Self::Object(object),
        }
    }

    fn len(&self) -> Option<usize> {
        match self {
            Self::Array(values) => Some(values.len()),
            Self::Made(values) => Some(values.len()),
            Self::Object(object) => Some(object.len()),
            _ => None,
        }
    }

    /// The elements of an array, or the keys of an object.
    fn elements(self) -> Option<Box<dyn Iterator<Item = Self> + 'a>> {
        match self {
            Self::Array(values) => Some(Box::new(values.iter().map(Self::of))),
            Self::Made(values) => Some(Box::new((0..values.len()).map(move |i| values[i].clone()))),
            Self::Object(object) => Some(Box::new(object.iter().map(|(key, _)| Self::Text(key)))),
            _ => None,
        }
    }

    fn element(&self, index: usize) -> Option<Self> {
        match self {
            Self::Array(values) => values.get(index).map(Self::of),
            Self::Made(values) => values.get(index).cloned(),
            _ => None,
        }
    }
}

/// One answer in the making.
struct Run<'a> {
    steps: usize,
    variables: Vec<Value<'a>>,
}

impl<'a> Run<'a> {
    fn boolean(&mut self, node: &'a Node) -> Result<bool, Why> {
        match self.value(node)? {
            Value::Bool(is) => Ok(is),
            _ => Err(mismatch(node)),
        }
    }

    fn number(&mut self, node: &'a Node) -> Result<f64, Why> {
        match self.value(node)? {
            Value::Number(number) => Ok(number),
            _ => Err(mismatch(node)),
        }
    }

    fn value(&mut self, node: &'a Node) -> Result<Value<'a>, Why> {
        self.spend(1)?;
        Ok(match &node.what {
            What::Null => Value::Null,
            What::Bool(is) => Value::Bool(*is),
            What::Number(number) => Value::Number(*number),
            What::Text(text) => Value::Text(text),
            What::List(nodes) => {
                self.spend(MAKE)?;
                let values: Result<_, Why> = nodes.iter().map(|node| self.value(node)).collect();
                Value::Made(values?)
            }
            What::Variable(slot) => self
                .variables
                .get(*slot)
                .cloned()
                .expect("a name is read only inside of the loop that adds it"),
            What::Field(of, name) => {
                let of = self.value(of)?;
                self.field(node, &of, name)?.ok_or(missing(node))?
            }
            What::Has(of, name) => {
                let of = self.value(of)?;
                Value::Bool(self.field(node, &of, name)?.is_some())
            }
            What::Index(sides) => self.index(node, sides)?,
            What::Not(inner) => Value::Bool(!self.boolean(inner)?),
            What::Negative(inner) => Value::Number(-self.number(inner)?),
            What::Every(nodes) => Value::Bool(self.settle(nodes, false)?),
            What::Any(nodes) => Value::Bool(self.settle(nodes, true)?),
            What::Binary(binary, sides) => self.binary(node, *binary, sides)?,
            What::Choice(parts) => {
                let [condition, then, other] = &**parts;
                let chosen = if self.boolean(condition)? {
                    then
                } else {
                    other
                };
                self.value(chosen)?
            }
            What::Size(of) => {
                let of = self.value(of)?;
                if let Value::Text(text) = of {
                    self.spend(text.len() / 64)?;
                    Value::Number(text.chars().count() as f64)
                } else {
                    Value::Number(of.len().ok_or(mismatch(node))? as f64)
                }
            }
            What::Loop(kind, parts) => self.run_loop(node, *kind, parts)?,
        })
    }

    fn field(&mut self, node: &Node, of: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, Why> {
        let Value::Object(object) = of else {
            return Err(mismatch(node));
        };
        self.look(object, name)
    }

    fn look(&mut self, object: &'a Object<'a>, name: &str) -> Result<Option<Value<'a>>, Why> {
        // Names of the same length may have all but their ends in common.
        self.spend(object.len() / 4 * (1 + name.len() / 64))?;
        Ok(object.get(name).map(Value::of))
    }

    fn index(&mut self, node: &'a Node, sides: &'a [Node; 2]) -> Result<Value<'a>, Why> {
        let [of, by] = sides;
        let of = self.value(of)?;
        let found = match (&of, self.value(by)?) {
            (Value::Object(_), Value::Text(key)) => self.field(node, &of, key)?,
            (Value::Array(_) | Value::Made(_), Value::Number(index)) => {
                // No array is so long that its indices are not exact, and what is none comes out as another number.
                let whole = index as usize;
                (whole as f64 == index).then(|| of.element(whole)).flatten()
            }
            _ => return Err(mismatch(node)),
        };
        found.ok_or(missing(node))
    }

    /// `||` if `settled` is true, `&&` if false: one such side settles it, even beside one that cannot be told.
    fn settle(&mut self, nodes: &'a [Node], settled: bool) -> Result<bool, Why> {
        let mut sides = Sides::new(settled);
        for node in nodes {
            if sides.settle(self.boolean(node))? {
                break;
            }
        }
        sides.answer()
    }

    fn run_loop(
        &mut self,
        node: &Node,
        kind: Loop,
        parts: &'a [Node; 2],
    ) -> Result<Value<'a>, Why> {
        let [range, body] = parts;
        self.spend(MAKE)?;
        let elements = self.value(range)?.elements().ok_or(mismatch(node))?;
        let mut sides = Sides::new(kind == Loop::Exists);
        let mut made = Vec::new();
        for element in elements {
            self.spend(1)?;
            self.variables.push(element);
            let asked = self.value(body);
            let element = self.variables.pop();
            let test = |asked| match asked {
                Value::Bool(is) => Ok(is),
                _ => Err(mismatch(body)),
            };
            match kind {
                Loop::Exists | Loop::All => {
                    if sides.settle(asked.and_then(test))? {
                        break;
                    }
                }
                Loop::ExistsOne | Loop::Filter => {
                    if test(asked?)? {
                        made.extend(element);
                    }
                }
                Loop::Map => made.push(asked?),
            }
        }
        Ok(match kind {
            Loop::Exists | Loop::All => Value::Bool(sides.answer()?),
            Loop::ExistsOne => Value::Bool(made.len() == 1),
            Loop::Filter | Loop::Map => Value::Made(made.into()),
        })
    }

    fn binary(
        &mut self,
        node: &Node,
        binary: Binary,
        sides: &'a [Node; 2],
    ) -> Result<Value<'a>, Why> {
        let [a, b] = sides;
        let (a, b) = (self.value(a)?, self.value(b)?);
        Ok(match binary {
            Binary::Equal => Value::Bool(self.equal(&a, &b)?),
            Binary::Unequal => Value::Bool(!self.equal(&a, &b)?),
            Binary::Less => Value::Bool(self.order(node, &a, &b)?.is_some_and(Ordering::is_lt)),
            Binary::AtMost => Value::Bool(self.order(node, &a, &b)?.is_some_and(Ordering::is_le)),
            Binary::More => Value::Bool(self.order(node, &a, &b)?.is_some_and(Ordering::is_gt)),
            Binary::AtLeast => Value::Bool(self.order(node, &a, &b)?.is_some_and(Ordering::is_ge)),
            Binary::In => Value::Bool(self.is_in(node, &a, b)?),
            Binary::Plus | Binary::Minus | Binary::Times => {
                let (Value::Number(a), Value::Number(b)) = (a, b) else {
                    return Err(mismatch(node));
                };
                Value::Number(match binary {
                    Binary::Plus => a + b,
                    Binary::Minus => a - b,
                    _ => a * b,
                })
            }
            Binary::StartsWith | Binary::EndsWith | Binary::Contains => {
                let (Value::Text(text), Value::Text(part)) = (a, b) else {
                    return Err(mismatch(node));
                };
                self.spend(match binary {
                    Binary::Contains => text.len() / 8,
                    _ => part.len() / 64,
                })?;
                Value::Bool(match binary {
                    Binary::StartsWith => text.starts_with(part),
                    Binary::EndsWith => text.ends_with(part),
                    _ => text.contains(part),
                })
            }
        })
    }

    /// What differs in kind is not equal. Of objects only the fields count, not their order.
    fn equal(&mut self, a: &Value<'a>, b: &Value<'a>) -> Result<bool, Why> {
        self.spend(1)?;
        Ok(match (a, b) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => {
                self.spend(a.len().min(b.len()) / 64)?;
                a == b
            }
            (Value::Object(a), Value::Object(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (key, a) in a.iter() {
                    let Some(b) = self.look(b, key)? else {
                        return Ok(false);
                    };
                    if !self.equal(&Value::of(a), &b)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Array(_) | Value::Made(_), Value::Array(_) | Value::Made(_)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                let pairs = (0..).map_while(|i| Some((a.element(i)?, b.element(i)?)));
                for (a, b) in pairs {
                    if !self.equal(&a, &b)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }

    /// None where a number is none (∞ − ∞): then every comparison is false.
    fn order(
        &mut self,
        node: &Node,
        a: &Value<'a>,
        b: &Value<'a>,
    ) -> Result<Option<Ordering>, Why> {
        match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
            (Value::Number(a), Value::Number(b)) => Ok(a.partial_cmp(b)),
            (Value::Text(a), Value::Text(b)) => {
                self.spend(a.len().min(b.len()) / 64)?;
                Ok(Some(a.cmp(b)))
            }
            _ => Err(mismatch(node)),
        }
    }

    fn is_in(&mut self, node: &Node, a: &Value<'a>, b: Value<'a>) -> Result<bool, Why> {
        if let Value::Object(object) = b {
            return match a {
                Value::Text(key) => Ok(self.look(object, key)?.is_some()),
                // In CEL these could be keys, only not here.
                Value::Number(_) | Value::Bool(_) => Ok(false),
                _ => Err(mismatch(node)),
            };
        }
        for element in b.elements().ok_or(mismatch(node))? {
            if self.equal(a, &element)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn spend(&mut self, steps: usize) -> Result<(), Why> {
        self.steps = self.steps.checked_sub(steps).ok_or(Why::TooCostly)?;
        Ok(())
    }
}

/// Booleans one after the other, until one of them settles the matter.
struct Sides {
    settled: bool,
    answer: Result<bool, Why>,
}

impl Sides {
    fn new(settled: bool) -> Self {
        Self {
            settled,
            answer: Ok(!settled),
        }
    }

    /// Whether it is settled now.
    ///
    /// # Errors
    /// What is too costly has no other side.
    fn settle(&mut self, side: Result<bool, Why>) -> Result<bool, Why> {
        match side {
            Ok(is) if is == self.settled => self.answer = Ok(is),
            Ok(_) => return Ok(false),
            Err(Why::TooCostly) => return Err(Why::TooCostly),
            // The first reason is told.
            Err(why) => {
                self.answer = self.answer.and(Err(why));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn answer(self) -> Result<bool, Why> {
        self.answer
    }
}

fn missing(node: &Node) -> Why {
    Why::Missing {
        column: node.column,
    }
}

fn mismatch(node: &Node) -> Why {
    Why::TypeMismatch {
        column: node.column,
    }
}
