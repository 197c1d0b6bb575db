//! What an expression is once it was read and checked.

/// One operation, and where it stands in the text.
pub(super) struct Node {
    /// In characters, from 1 on.
    pub(super) column: usize,
    pub(super) what: What,
}

pub(super) enum What {
    Null,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
    List(Vec<Node>),
    /// The event is variable 0; each loop adds the next.
    Variable(usize),
    Field(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negative(Box<Node>),
    /// `&&`, side by side.
    Every(Vec<Node>),
    /// `||`, side by side.
    Any(Vec<Node>),
    Binary(Binary, Box<[Node; 2]>),
    /// Condition, then, else.
    Choice(Box<[Node; 3]>),
    Size(Box<Node>),
    /// What is gone over, and what is asked of each element.
    Loop(Loop, Box<[Node; 2]>),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Binary {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Plus,
    Minus,
    Times,
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Loop {
    Exists,
    All,
    ExistsOne,
    Filter,
    Map,
}
