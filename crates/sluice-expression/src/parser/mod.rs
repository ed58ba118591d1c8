//! Tokens to a tree: a Pratt parser. Names, functions and methods are resolved while it reads, literal paths
//! and patterns compiled, and what is certain never to work is refused, all with the column.
//!
//! Here are the operators and what follows a value; [`primary`] reads the values between them.

mod primary;

use crate::{
    bound::{MAX_NESTING, MAX_OPERATORS},
    error::ExpressionError,
    lexer::{self, Token},
    method::{self, Method},
    operator::{self, Infix},
    root::{Property, Source},
    tree::{Kind, Node, Pick},
};

pub(crate) type Parsed<T> = Result<T, ExpressionError>;

/// What an expression reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) message: bool,
    pub(crate) subscription: bool,
    pub(crate) exchange: bool,
    /// What else is known of a client.
    pub(crate) client: bool,
    /// The names of secrets, in the order in which they stand.
    pub(crate) secrets: Vec<Box<str>>,
    /// The names of dictionaries that are certain, in the order in which they stand.
    pub(crate) dictionaries: Vec<Box<str>>,
}

impl Reads {
    const fn note(&mut self, source: Source) {
        match source {
            Source::Message => self.message = true,
            Source::Subscription => self.subscription = true,
            Source::Exchange => self.exchange = true,
            Source::Client => self.client = true,
            Source::Surroundings => {}
        }
    }

    /// Takes note of an entry of a map that is a root.
    fn note_entry(&mut self, of: &Node, key: &str) {
        if let Node::Property(Property { name: "dictionaries", .. }) = of {
            self.dictionaries.push(key.into());
        }
    }
}

/// A parser that stands before one token.
pub(crate) struct Parser<'t> {
    text: &'t str,
    token: Token<'t>,
    start: usize,
    end: usize,
    nesting: usize,
    operators: usize,
    /// How many selections and projections are around what is read.
    scopes: usize,
    /// What everything read so far reads.
    pub(crate) reads: Reads,
}

impl<'t> Parser<'t> {
    /// A parser for the expression that follows the brace before byte `from`.
    pub(crate) fn new(text: &'t str, from: usize, reads: Reads) -> Parsed<Self> {
        let (token, start, end) = lexer::token(text, from)?;
        Ok(Self { text, token, start, end, nesting: 0, operators: 0, scopes: 0, reads })
    }

    /// Reads the expression and its closing brace; gives the tree and the byte behind the brace.
    pub(crate) fn braced(&mut self) -> Parsed<(Node, usize)> {
        let node = self.expression()?;
        if self.token == Token::Sign("}") {
            return Ok((node, self.end));
        }
        Err(self.unexpected("an operator or the closing '}'"))
    }

    /// A whole expression: the choice operators bind weakest, and to the right.
    pub(crate) fn expression(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let first = parser.infix(0)?;
            if parser.operator("?")? {
                let yes = parser.expression()?;
                parser.expect(":")?;
                let no = parser.expression()?;
                return Ok(Node::Choose(Box::new([first, yes, no])));
            }
            if parser.operator("?:")? {
                let other = parser.expression()?;
                return Ok(Node::Elvis(Box::new([first, other])));
            }
            Ok(first)
        })
    }

    fn infix(&mut self, weakest: u8) -> Parsed<Node> {
        let mut left = self.unary()?;
        let mut compared = false;
        if self.token == Token::Sign("=") {
            return Err(self.refuse(self.start, "Nothing can be assigned; to compare use '=='."));
        }
        while let Some(infix) = Infix::of(&self.token).filter(|infix| infix.strength() > weakest) {
            let at = self.start;
            if compared && infix.compares() {
                return Err(self.refuse(at, "Comparisons do not chain; use parentheses or 'and'."));
            }
            compared |= infix.compares();
            self.count()?;
            self.advance()?;
            if let Infix::InstanceOf = infix {
                left = Node::InstanceOf(Box::new(left), self.class_to_test()?);
                continue;
            }
            let right_at = self.start;
            let right = self.infix(infix.strength())?;
            left = infix.join(self, left, right, (at, right_at))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Node> {
        if self.operator("!")? || self.word_operator("not")? {
            return self.nested(|parser| Ok(Node::Not(Box::new(parser.unary()?))));
        }
        if self.operator("-")? {
            return self.nested(|parser| Ok(Node::Negate(Box::new(parser.unary()?))));
        }
        let mut node = self.primary()?;
        loop {
            let at = self.start;
            let Token::Sign(sign) = self.token else { return Ok(node) };
            let safe = sign.starts_with('?');
            node = match sign {
                "." | "?." => {
                    self.advance()?;
                    self.count()?;
                    self.member(node, safe, at)?
                }
                "[" | "?.[" => {
                    self.advance()?;
                    self.count()?;
                    self.index(node, safe, at)?
                }
                ".?[" | "?.?[" => self.each(node, Pick::All, safe, at)?,
                ".^[" | "?.^[" => self.each(node, Pick::First, safe, at)?,
                ".$[" | "?.$[" => self.each(node, Pick::Last, safe, at)?,
                ".![" | "?.![" => self.each(node, Pick::Made, safe, at)?,
                _ => return Ok(node),
            };
        }
    }

    fn index(&mut self, of: Node, safe: bool, at: usize) -> Parsed<Node> {
        if !matches!(of.kind(), Kind::Any | Kind::Text | Kind::List | Kind::Map) {
            return Err(self.refuse(at, format!("There is no index into {}.", of.kind().noun())));
        }
        let index = Box::new(self.expression()?);
        self.expect("]")?;
        if let Node::Text(key) = &*index {
            self.reads.note_entry(&of, key);
        }
        Ok(Node::Index { of: Box::new(of), index, safe })
    }

    /// A selection or a projection: its body is an expression in which names are those of the item.
    fn each(&mut self, of: Node, pick: Pick, safe: bool, at: usize) -> Parsed<Node> {
        if !matches!(of.kind(), Kind::Any | Kind::List | Kind::Map) {
            return Err(self.refuse(at, format!("There is nothing to select from in {}.", of.kind().noun())));
        }
        self.advance()?;
        self.count()?;
        self.scopes += 1;
        let body = Box::new(self.expression()?);
        self.scopes -= 1;
        self.expect("]")?;
        Ok(Node::Each { of: Box::new(of), pick, body, safe })
    }

    fn member(&mut self, of: Node, safe: bool, at: usize) -> Parsed<Node> {
        let name_at = self.start;
        let name = self.name("the name of a property or method")?;
        if self.take("(")? {
            return self.call(of, name, safe, name_at);
        }
        if !matches!(of.kind(), Kind::Map | Kind::Any) {
            let noun = of.kind().noun();
            return Err(self.refuse(at, format!("There is no property '{name}' of {noun}.")));
        }
        self.reads.note_entry(&of, name);
        Ok(Node::Member { of: Box::new(of), key: name.into(), safe })
    }

    fn call(&mut self, of: Node, name: &str, safe: bool, name_at: usize) -> Parsed<Node> {
        let first_at = self.start;
        let mut arguments = self.until(")")?;
        let methods = Method::find(name, of.kind(), arguments.len());
        let methods = methods.map_err(|reason| self.refuse(name_at, reason))?;
        self.check_literal(name, arguments.first(), first_at)?;
        // A pattern that is known is compiled once, which the operator does.
        if let ("matches", Some(Node::Text(_))) = (name, arguments.first()) {
            return operator::matches(self, of, arguments.swap_remove(0), first_at);
        }
        Ok(Node::Call { of: Box::new(of), methods, arguments, safe })
    }

    fn check_literal(&self, name: &str, first: Option<&Node>, at: usize) -> Parsed<()> {
        match (method::check_of_literal(name), first) {
            (Some(check), Some(Node::Text(text))) => check(text).map_err(|reason| self.refuse(at, reason)),
            _ => Ok(()),
        }
    }

    /// Expressions between commas, up to and with the closing sign.
    pub(crate) fn until(&mut self, close: &'static str) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        if self.take(close)? {
            return Ok(nodes);
        }
        loop {
            nodes.push(self.expression()?);
            if self.take(close)? {
                return Ok(nodes);
            }
            self.expect(",")?;
        }
    }

    fn name(&mut self, wanted: &str) -> Parsed<&'t str> {
        let Token::Word(name) = self.token else { return Err(self.unexpected(wanted)) };
        self.advance()?;
        Ok(name)
    }

    fn advance(&mut self) -> Parsed<()> {
        (self.token, self.start, self.end) = lexer::token(self.text, self.end)?;
        Ok(())
    }

    fn take(&mut self, sign: &'static str) -> Parsed<bool> {
        let found = self.token == Token::Sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// As [`take`](Self::take), for what adds a level to the tree.
    fn operator(&mut self, sign: &'static str) -> Parsed<bool> {
        let found = self.take(sign)?;
        if found {
            self.count()?;
        }
        Ok(found)
    }

    fn word_operator(&mut self, wanted: &str) -> Parsed<bool> {
        let found = matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(wanted));
        if found {
            self.advance()?;
            self.count()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &'static str) -> Parsed<()> {
        if self.take(sign)? { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn count(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators <= MAX_OPERATORS {
            return Ok(());
        }
        Err(self
            .refuse(self.start, format!("An expression has at most {MAX_OPERATORS} operators and calls.")))
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<Node>) -> Parsed<Node> {
        if self.nesting == MAX_NESTING {
            return Err(self.refuse(self.start, format!("An expression nests at most {MAX_NESTING} deep.")));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// The byte at which the token begins that comes next.
    pub(crate) const fn at(&self) -> usize {
        self.start
    }

    /// An error at a byte of the text.
    pub(crate) fn refuse(&self, at: usize, message: impl Into<String>) -> ExpressionError {
        lexer::refuse(self.text, at, message)
    }

    fn unexpected(&self, wanted: &str) -> ExpressionError {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            _ => format!("'{}'", &self.text[self.start..self.end]),
        };
        self.refuse(self.start, format!("Expected {wanted}, found {found}."))
    }
}
