//! From text to a tree, by the grammar of CEL, with every check that needs no event.

use super::{
    MAX_DEPTH, MAX_LOOPS,
    tokens::{Token, error, tokens},
    tree::{Binary, Loop, Node, What},
};
use crate::{Invalid, json::path_step};

pub(super) fn parse(text: &str) -> Result<Node, Invalid> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
        variables: vec!["event"],
    };
    let part = parser.expression().map_err(|e| *e)?;
    if *parser.peek() != Token::End {
        return Err(*parser.syntax("an operator is expected"));
    }
    Ok(part.boolean().map_err(|e| *e)?.node)
}

/// The error is boxed to keep what is returned from each level of nesting small.
type Parsed<T> = Result<T, Box<Invalid>>;

/// What is known of a value before there is an event.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    /// Only the event itself.
    Object,
    /// It depends on the event.
    Open,
}

impl Kind {
    fn may_be(self, kinds: &[Self]) -> bool {
        self == Self::Open || kinds.contains(&self)
    }

    /// What is not known to be of different kinds.
    fn may_equal(self, other: Self) -> bool {
        self == other || [self, other].iter().any(|k| k.may_be(&[Self::Null]))
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List => "an array",
            Self::Object => "an object",
            Self::Open => "a value",
        }
    }
}

/// A finished piece of the tree.
struct Part {
    node: Node,
    kind: Kind,
    /// How many nodes lie in one another, at most.
    height: usize,
}

impl Part {
    /// # Errors
    /// `filter_not_boolean`.
    fn boolean(self) -> Parsed<Self> {
        if self.kind.may_be(&[Kind::Bool]) {
            return Ok(self);
        }
        let is = self.kind.words();
        let what = format!("{is} stands where true or false is asked for");
        let error = error("filter_not_boolean", self.node.column, what);
        Err(Box::new(error.hint("compare it with something")))
    }

    /// # Errors
    /// `filter_type_mismatch`, for the operation at this column.
    fn fits(self, column: usize, operation: &str, kinds: &[Kind]) -> Parsed<Self> {
        if self.kind.may_be(kinds) {
            return Ok(self);
        }
        let what = format!("{operation} cannot take {}", self.kind.words());
        Err(Box::new(error("filter_type_mismatch", column, what)))
    }
}

struct Parser<'t> {
    tokens: Vec<(usize, Token<'t>)>,
    at: usize,
    depth: usize,
    variables: Vec<&'t str>,
}

impl<'t> Parser<'t> {
    /// Expressions, the inside of brackets among them, are the only thing that nests.
    fn expression(&mut self) -> Parsed<Part> {
        if self.depth == MAX_DEPTH {
            return Err(self.too_deep(self.column()));
        }
        self.depth += 1;
        let part = self.choice();
        self.depth -= 1;
        part
    }

    fn choice(&mut self) -> Parsed<Part> {
        let condition = self.disjunction()?;
        let column = self.column();
        if !self.take("?") {
            return Ok(condition);
        }
        let condition = condition.boolean()?;
        let then = self.disjunction()?;
        self.expect(":", "a colon is expected, as in condition ? this : that")?;
        let other = self.expression()?;
        let kind = if then.kind == other.kind {
            then.kind
        } else {
            Kind::Open
        };
        self.node(column, kind, [condition, then, other], |parts| {
            What::Choice(Box::new(parts))
        })
    }

    fn disjunction(&mut self) -> Parsed<Part> {
        self.side_by_side("||", What::Any, |parser| {
            parser.side_by_side("&&", What::Every, Self::relation)
        })
    }

    /// One or more of `next`, between them `mark`.
    fn side_by_side(
        &mut self,
        mark: &str,
        what: fn(Vec<Node>) -> What,
        next: fn(&mut Self) -> Parsed<Part>,
    ) -> Parsed<Part> {
        let first = next(self)?;
        let column = self.column();
        if !self.take(mark) {
            return Ok(first);
        }
        let mut parts = vec![first.boolean()?, next(self)?.boolean()?];
        while self.take(mark) {
            parts.push(next(self)?.boolean()?);
        }
        self.nodes(column, Kind::Bool, parts, what)
    }

    fn relation(&mut self) -> Parsed<Part> {
        let mut left = self.sum()?;
        loop {
            let column = self.column();
            let (mark, operation) = match self.peek() {
                Token::Mark(mark @ "==") => (*mark, Binary::Equal),
                Token::Mark(mark @ "!=") => (*mark, Binary::Unequal),
                Token::Mark(mark @ "<") => (*mark, Binary::Less),
                Token::Mark(mark @ "<=") => (*mark, Binary::AtMost),
                Token::Mark(mark @ ">") => (*mark, Binary::More),
                Token::Mark(mark @ ">=") => (*mark, Binary::AtLeast),
                Token::Name("in") => ("in", Binary::In),
                _ => return Ok(left),
            };
            self.at += 1;
            let mut right = self.sum()?;
            match operation {
                Binary::In => right = right.fits(column, mark, &[Kind::List, Kind::Object])?,
                Binary::Equal | Binary::Unequal => {}
                _ => {
                    let ordered = [Kind::Number, Kind::Text, Kind::Bool];
                    left = left.fits(column, mark, &ordered)?;
                    right = right.fits(column, mark, &ordered)?;
                }
            }
            if operation != Binary::In && !left.kind.may_equal(right.kind) {
                let (a, b) = (left.kind.words(), right.kind.words());
                let what = format!("{mark} compares {a} with {b}");
                return Err(Box::new(error("filter_type_mismatch", column, what)));
            }
            left = self.binary(column, operation, Kind::Bool, [left, right])?;
        }
    }

    fn sum(&mut self) -> Parsed<Part> {
        self.arithmetic(&[("+", Binary::Plus), ("-", Binary::Minus)], Self::product)
    }

    fn product(&mut self) -> Parsed<Part> {
        self.arithmetic(&[("*", Binary::Times)], Self::unary)
    }

    fn arithmetic(
        &mut self,
        operations: &[(&str, Binary)],
        next: fn(&mut Self) -> Parsed<Part>,
    ) -> Parsed<Part> {
        let mut left = next(self)?;
        loop {
            let column = self.column();
            let Some((mark, operation)) = operations.iter().find(|(mark, _)| self.take(mark))
            else {
                return Ok(left);
            };
            let sides = [left, next(self)?];
            let [a, b] = sides.map(|side| side.fits(column, mark, &[Kind::Number]));
            left = self.binary(column, *operation, Kind::Number, [a?, b?])?;
        }
    }

    /// Any number of `!`, or of `-`, is one or two of them.
    fn unary(&mut self) -> Parsed<Part> {
        let column = self.column();
        let nots = self.count("!");
        let negatives = if nots == 0 { self.count("-") } else { 0 };
        let mut part = self.member()?;
        for _ in 0..twice_at_most(nots) {
            part = part.boolean()?;
            part = self.node(column, Kind::Bool, [part], |[inner]| {
                What::Not(Box::new(inner))
            })?;
        }
        for _ in 0..twice_at_most(negatives) {
            part = part.fits(column, "-", &[Kind::Number])?;
            part = self.node(column, Kind::Number, [part], |[inner]| {
                What::Negative(Box::new(inner))
            })?;
        }
        Ok(part)
    }

    fn member(&mut self) -> Parsed<Part> {
        let mut part = self.primary()?;
        loop {
            if self.take(".") {
                let column = self.column();
                let Some(name) = self.name() else {
                    return Err(self.syntax("the name of a field is expected"));
                };
                part = if self.take("(") {
                    self.method(column, name, part)?
                } else {
                    let part = part.fits(column, "the name of a field", &[Kind::Object])?;
                    self.node(column, Kind::Open, [part], |[inner]| {
                        What::Field(Box::new(inner), name.into())
                    })?
                };
            } else if *self.peek() == Token::Mark("[") {
                let column = self.column();
                self.at += 1;
                let index = self.expression()?;
                self.expect("]", "a closing bracket is expected")?;
                let of = part.fits(column, "[ ]", &[Kind::List, Kind::Object])?;
                let by = match of.kind {
                    Kind::List => [Kind::Number].as_slice(),
                    Kind::Object => &[Kind::Text],
                    _ => &[Kind::Number, Kind::Text],
                };
                let index = index.fits(column, "[ ]", by)?;
                part = self.node(column, Kind::Open, [of, index], |parts| {
                    What::Index(Box::new(parts))
                })?;
            } else {
                return Ok(part);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Part> {
        let (column, token) = self.next();
        let leaf = |kind, what| {
            let node = Node { column, what };
            Ok(Part {
                node,
                kind,
                height: 1,
            })
        };
        match token {
            Token::Number(number) => leaf(Kind::Number, What::Number(number)),
            Token::Text(text) => leaf(Kind::Text, What::Text(text.into())),
            Token::Name("true") => leaf(Kind::Bool, What::Bool(true)),
            Token::Name("false") => leaf(Kind::Bool, What::Bool(false)),
            Token::Name("null") => leaf(Kind::Null, What::Null),
            Token::Name(name) if name != "in" && self.take("(") => self.function(column, name),
            Token::Name(name) if name != "in" => {
                // The innermost of a name counts.
                let slot = self.variables.iter().rposition(|known| *known == name);
                let slot = slot.ok_or_else(|| unknown_variable(column, name))?;
                let kind = if slot == 0 { Kind::Object } else { Kind::Open };
                leaf(kind, What::Variable(slot))
            }
            Token::Mark("(") => {
                let part = self.expression()?;
                self.expect(")", "a closing parenthesis is expected")?;
                Ok(part)
            }
            Token::Mark("[") => {
                let elements = self.list("]", "a comma or a closing bracket is expected")?;
                self.nodes(column, Kind::List, elements, What::List)
            }
            _ => Err(Box::new(error(
                "filter_syntax",
                column,
                "a value is expected",
            ))),
        }
    }

    /// Behind the opening parenthesis.
    fn function(&mut self, column: usize, name: &str) -> Parsed<Part> {
        if !["has", "size"].contains(&name) {
            return Err(unknown_function(column, name));
        }
        let [part] = self.arguments(column, name)?;
        if name == "size" {
            return self.size(column, part);
        }
        match part.node.what {
            What::Field(of, field) => Ok(Part {
                node: Node {
                    column: part.node.column,
                    what: What::Has(of, field),
                },
                kind: Kind::Bool,
                height: part.height,
            }),
            _ => Err(Box::new(
                error("filter_syntax", column, "has asks for a field")
                    .hint("write has(event.name), or \"odd name\" in event"),
            )),
        }
    }

    /// Behind the opening parenthesis.
    fn method(&mut self, column: usize, name: &'t str, of: Part) -> Parsed<Part> {
        let test = match name {
            "size" => {
                let [] = self.arguments(column, name)?;
                return self.size(column, of);
            }
            "startsWith" => Binary::StartsWith,
            "endsWith" => Binary::EndsWith,
            "contains" => Binary::Contains,
            "exists" => return self.over(column, name, Loop::Exists, of),
            "all" => return self.over(column, name, Loop::All, of),
            "exists_one" => return self.over(column, name, Loop::ExistsOne, of),
            "filter" => return self.over(column, name, Loop::Filter, of),
            "map" => return self.over(column, name, Loop::Map, of),
            _ => return Err(unknown_function(column, name)),
        };
        let of = of.fits(column, name, &[Kind::Text])?;
        let [part] = self.arguments(column, name)?;
        let part = part.fits(column, name, &[Kind::Text])?;
        self.binary(column, test, Kind::Bool, [of, part])
    }

    fn size(&self, column: usize, of: Part) -> Parsed<Part> {
        let of = of.fits(column, "size", &[Kind::Text, Kind::List, Kind::Object])?;
        self.node(column, Kind::Number, [of], |[inner]| {
            What::Size(Box::new(inner))
        })
    }

    /// `(x, what is asked of x)`, behind the opening parenthesis.
    fn over(&mut self, column: usize, name: &str, kind: Loop, range: Part) -> Parsed<Part> {
        let range = range.fits(column, name, &[Kind::List, Kind::Object])?;
        let (at, variable) = self.next();
        let variable = match variable {
            Token::Name(variable)
                if !LITERALS.contains(&variable) && !RESERVED.contains(&variable) =>
            {
                variable
            }
            _ => {
                let what = format!("{name} begins with a name for the element");
                let error = error("filter_syntax", at, what);
                return Err(Box::new(error.hint(format!(
                    "write {name}(x, …) and ask of x what is to be asked"
                ))));
            }
        };
        self.expect(",", "a comma is expected behind the name of the element")?;
        if self.variables.len() > MAX_LOOPS {
            let what = format!("more than {MAX_LOOPS} loops lie in one another");
            return Err(Box::new(error("filter_too_deep", column, what)));
        }
        self.variables.push(variable);
        let body = self.expression();
        self.variables.pop();
        let mut body = body?;
        self.expect(")", "a closing parenthesis is expected")?;
        if kind != Loop::Map {
            body = body.boolean()?;
        }
        let result = match kind {
            Loop::Filter | Loop::Map => Kind::List,
            _ => Kind::Bool,
        };
        self.node(column, result, [range, body], |parts| {
            What::Loop(kind, Box::new(parts))
        })
    }

    /// So many, and the closing parenthesis.
    fn arguments<const N: usize>(&mut self, column: usize, name: &str) -> Parsed<[Part; N]> {
        let parts = self.list(")", "a comma or a closing parenthesis is expected")?;
        parts.try_into().map_err(|_| {
            let what = match N {
                0 => format!("{name} takes nothing in its parentheses"),
                _ => format!("{name} takes one value in its parentheses"),
            };
            Box::new(error("filter_syntax", column, what))
        })
    }

    fn list(&mut self, close: &'static str, expected: &'static str) -> Parsed<Vec<Part>> {
        let mut parts = Vec::new();
        if self.take(close) {
            return Ok(parts);
        }
        loop {
            parts.push(self.expression()?);
            if self.take(close) {
                return Ok(parts);
            }
            self.expect(",", expected)?;
            // CEL lets a list, and nothing else, end with a comma.
            if close == "]" && self.take(close) {
                return Ok(parts);
            }
        }
    }

    fn binary(&self, column: usize, of: Binary, kind: Kind, sides: [Part; 2]) -> Parsed<Part> {
        self.node(column, kind, sides, |sides| {
            What::Binary(of, Box::new(sides))
        })
    }

    fn node<const N: usize>(
        &self,
        column: usize,
        kind: Kind,
        parts: [Part; N],
        what: impl FnOnce([Node; N]) -> What,
    ) -> Parsed<Part> {
        let height = self.height(column, &parts)?;
        let what = what(parts.map(|part| part.node));
        let node = Node { column, what };
        Ok(Part { node, kind, height })
    }

    fn nodes(
        &self,
        column: usize,
        kind: Kind,
        parts: Vec<Part>,
        what: fn(Vec<Node>) -> What,
    ) -> Parsed<Part> {
        let height = self.height(column, &parts)?;
        let what = what(parts.into_iter().map(|part| part.node).collect());
        let node = Node { column, what };
        Ok(Part { node, kind, height })
    }

    /// Chains like `a.b.c` grow to the left without an end, so the tree is measured beside the nesting of the text.
    fn height(&self, column: usize, parts: &[Part]) -> Parsed<usize> {
        let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or(0);
        if height > MAX_DEPTH {
            return Err(self.too_deep(column));
        }
        Ok(height)
    }

    fn too_deep(&self, column: usize) -> Box<Invalid> {
        let what = format!("expressions lie more than {MAX_DEPTH} deep in one another");
        Box::new(error("filter_too_deep", column, what))
    }

    fn name(&mut self) -> Option<&'t str> {
        match *self.peek() {
            Token::Name(name) if !LITERALS.contains(&name) => {
                self.at += 1;
                Some(name)
            }
            _ => None,
        }
    }

    fn count(&mut self, mark: &str) -> usize {
        let mut count = 0;
        while self.take(mark) {
            count += 1;
        }
        count
    }

    fn expect(&mut self, mark: &str, what: &'static str) -> Parsed<()> {
        if self.take(mark) {
            return Ok(());
        }
        Err(self.syntax(what))
    }

    fn take(&mut self, mark: &str) -> bool {
        let there = matches!(self.peek(), Token::Mark(m) if *m == mark);
        self.at += usize::from(there);
        there
    }

    fn next(&mut self) -> (usize, Token<'t>) {
        let next = (self.column(), self.peek().clone());
        self.at += usize::from(next.1 != Token::End);
        next
    }

    fn peek(&self) -> &Token<'t> {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn column(&self) -> usize {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(1, |(column, _)| *column)
    }

    fn syntax(&self, what: &'static str) -> Box<Invalid> {
        Box::new(error("filter_syntax", self.column(), what))
    }
}

/// Words of CEL that name nothing.
const LITERALS: &[&str] = &["true", "false", "null", "in"];

/// Words of CEL that name no variable.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// As many, but for pairs that change nothing.
fn twice_at_most(count: usize) -> usize {
    match count {
        0 => 0,
        _ => 2 - count % 2,
    }
}

fn unknown_variable(column: usize, name: &str) -> Box<Invalid> {
    let name = path_step(name);
    let what = format!("{name} is not known");
    let error = error("filter_unknown_name", column, what);
    Box::new(error.hint(format!("the event is called event: event.{name}")))
}

fn unknown_function(column: usize, name: &str) -> Box<Invalid> {
    if name == "matches" {
        let what = "regular expressions are not understood in a filter";
        let error = error("filter_not_allowed", column, what);
        return Box::new(error.hint("use startsWith, endsWith, contains or in"));
    }
    let what = format!("there is no function {}", path_step(name));
    Box::new(error("filter_unknown_name", column, what).hint(
        "there are has, size, startsWith, endsWith, contains, exists, all, exists_one, filter and map",
    ))
}
