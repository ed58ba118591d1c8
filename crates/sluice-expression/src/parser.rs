//! Tokens to a tree: a Pratt parser. Names, functions and methods are resolved here, literal paths and
//! patterns compiled, and what is certain never to work is refused, all with the column.

use crate::{
    bound::{MAX_NESTING, MAX_OPERATORS},
    error::ExpressionError,
    function,
    lexer::{self, Token},
    method::Method,
    pattern, root,
    tree::{Calculation, Comparison, Kind, Node, Pattern},
};

pub(crate) type Parsed<T> = Result<T, ExpressionError>;

/// A parser that stands before one token.
pub(crate) struct Parser<'t> {
    text: &'t str,
    token: Token<'t>,
    start: usize,
    end: usize,
    nesting: usize,
    operators: usize,
    /// Whether anything read so far needs a message.
    pub(crate) reads_message: bool,
}

#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Compare(Comparison),
    Matches,
    Calculate(Calculation),
}

impl Infix {
    /// How strongly it binds; all bind to the left.
    const fn strength(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Compare(_) | Self::Matches => COMPARISON,
            Self::Calculate(Calculation::Add | Calculation::Subtract) => 4,
            Self::Calculate(_) => 5,
        }
    }
}

const COMPARISON: u8 = 3;

impl<'t> Parser<'t> {
    /// A parser for the expression that follows the brace before byte `from`.
    pub(crate) fn new(text: &'t str, from: usize) -> Parsed<Self> {
        let (token, start, end) = lexer::token(text, from)?;
        Ok(Self { text, token, start, end, nesting: 0, operators: 0, reads_message: false })
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
        while let Some(infix) = self.peek_infix()?.filter(|infix| infix.strength() > weakest) {
            let at = self.start;
            let is_comparison = infix.strength() == COMPARISON;
            if compared && is_comparison {
                return Err(self.refuse(at, "Comparisons do not chain; use parentheses or 'and'."));
            }
            compared |= is_comparison;
            self.count()?;
            self.advance()?;
            let right_at = self.start;
            let right = self.infix(infix.strength())?;
            left = self.join(infix, left, right, (at, right_at))?;
        }
        Ok(left)
    }

    fn join(&self, infix: Infix, left: Node, right: Node, (at, right_at): (usize, usize)) -> Parsed<Node> {
        let kinds = (left.kind(), right.kind());
        let misfit = |fits: &[Kind]| [kinds.0, kinds.1].into_iter().find(|kind| !fits.contains(kind));
        Ok(match infix {
            Infix::Or => Node::Or(Box::new([left, right])),
            Infix::And => Node::And(Box::new([left, right])),
            Infix::Compare(comparison) => {
                let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
                let comparable = match kinds {
                    (Kind::Any | Kind::Null, _) | (_, Kind::Any | Kind::Null) => true,
                    (one, two) => one == two && matches!(one, Kind::Text | Kind::Number),
                };
                if ordered && !comparable {
                    let (one, two) = (kinds.0.noun(), kinds.1.noun());
                    return Err(self.refuse(at, format!("There is no order between {one} and {two}.")));
                }
                Node::Compare(comparison, Box::new([left, right]))
            }
            Infix::Matches => {
                let pattern = match right {
                    Node::Text(text) => {
                        let compiled = pattern::whole(&text);
                        Pattern::Compiled(compiled.map_err(|reason| self.refuse(right_at, reason))?)
                    }
                    computed => Pattern::Computed(Box::new(computed)),
                };
                Node::Matches(Box::new(left), pattern)
            }
            Infix::Calculate(calculation) => {
                let may_join = |kind| matches!(kind, Kind::Text | Kind::Any);
                let joins = calculation == Calculation::Add && (may_join(kinds.0) || may_join(kinds.1));
                let fits: &[Kind] = if joins {
                    &[Kind::Any, Kind::Text, Kind::Number, Kind::Boolean, Kind::Null, Kind::List]
                } else {
                    &[Kind::Any, Kind::Number]
                };
                if let Some(misfit) = misfit(fits) {
                    let (sign, noun) = (calculation.sign(), misfit.noun());
                    return Err(self.refuse(at, format!("'{sign}' does not work on {noun}.")));
                }
                Node::Calculate(calculation, Box::new([left, right]))
            }
        })
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
            let safe = matches!(self.token, Token::Sign("?." | "?.["));
            if self.operator(".")? || self.operator("?.")? {
                node = self.member(node, safe, at)?;
            } else if self.operator("[")? || self.operator("?.[")? {
                if matches!(node.kind(), Kind::Boolean | Kind::Number | Kind::Null) {
                    let noun = node.kind().noun();
                    return Err(self.refuse(at, format!("There is no index into {noun}.")));
                }
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                node = Node::Index { of: Box::new(node), index, safe };
            } else if matches!(self.token, Token::Sign(".?[" | ".![" | ".^[" | ".$[")) {
                return Err(self.refuse(at, "Selection and projection are not available."));
            } else {
                return Ok(node);
            }
        }
    }

    fn member(&mut self, of: Node, safe: bool, at: usize) -> Parsed<Node> {
        let name_at = self.start;
        let name = self.name("the name of a property or method")?;
        if self.take("(")? {
            let arguments = self.until(")")?;
            let method = Method::find(name, of.kind(), arguments.len());
            let method = method.map_err(|reason| self.refuse(name_at, reason))?;
            return Ok(Node::Call { of: Box::new(of), method, arguments, safe });
        }
        if !matches!(of.kind(), Kind::Map | Kind::Any) {
            let noun = of.kind().noun();
            return Err(self.refuse(at, format!("There is no property '{name}' of {noun}.")));
        }
        Ok(Node::Member { of: Box::new(of), key: name.into(), safe })
    }

    fn primary(&mut self) -> Parsed<Node> {
        let at = self.start;
        let node = match std::mem::replace(&mut self.token, Token::End) {
            Token::Text(text) => Node::Text(text.into()),
            Token::Integer(number) => Node::Integer(number),
            Token::Float(number) => Node::Float(number),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Node::Boolean(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Node::Boolean(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Node::Null,
            Token::Word(word @ ("T" | "new")) => {
                let message = format!("'{word}' gives access to classes; that is not available.");
                return Err(self.refuse(at, message));
            }
            Token::Word(word) => {
                let known = root::names();
                let message = format!("'{word}' is not known. What can be read begins with #: {known}.");
                return Err(self.refuse(at, message));
            }
            Token::Sign("#") => {
                self.advance()?;
                return self.root();
            }
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("{") => {
                self.advance()?;
                return self.until("}").map(Node::List);
            }
            other => {
                self.token = other;
                return Err(self.unexpected("a value"));
            }
        };
        self.advance()?;
        Ok(node)
    }

    /// What follows a `#`: a function with its arguments, or a root with its property.
    fn root(&mut self) -> Parsed<Node> {
        let at = self.start;
        let name = self.name("a name")?;
        self.count()?;
        if self.take("(")? {
            return function::call(self, name, at);
        }
        let Some(properties) = root::properties(name) else {
            let (roots, functions) = (root::names(), function::names());
            let message = format!("There is no #{name}. Known are: {roots}, {functions}.");
            return Err(self.refuse(at, message));
        };
        let in_brackets = self.take("[")?;
        if !in_brackets && !self.take(".")? && !self.take("?.")? {
            return Err(self.unexpected(&format!("a property of #{name}")));
        }
        let at = self.start;
        let wanted: &str = match &self.token {
            Token::Word(word) if !in_brackets => word,
            Token::Text(text) if in_brackets => text,
            _ => return Err(self.unexpected(&format!("a property of #{name}"))),
        };
        let Some((_, property)) = properties.iter().find(|(known, _)| *known == wanted) else {
            let known: Vec<_> = properties.iter().map(|(known, _)| *known).collect();
            let message = format!("#{name} has no property '{wanted}'. Known are: {}.", known.join(", "));
            return Err(self.refuse(at, message));
        };
        self.advance()?;
        if in_brackets {
            self.expect("]")?;
        }
        self.reads_message |= property.reads_message();
        Ok(Node::Property(*property))
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

    fn peek_infix(&self) -> Parsed<Option<Infix>> {
        let lower;
        let sign = match &self.token {
            Token::Sign(sign) => *sign,
            Token::Word(word) => {
                lower = word.to_ascii_lowercase();
                &*lower
            }
            _ => return Ok(None),
        };
        Ok(Some(match sign {
            "||" | "or" => Infix::Or,
            "&&" | "and" => Infix::And,
            "==" | "eq" => Infix::Compare(Comparison::Equal),
            "!=" | "ne" => Infix::Compare(Comparison::NotEqual),
            "<" | "lt" => Infix::Compare(Comparison::Less),
            ">" | "gt" => Infix::Compare(Comparison::Greater),
            "<=" | "le" => Infix::Compare(Comparison::LessOrEqual),
            ">=" | "ge" => Infix::Compare(Comparison::GreaterOrEqual),
            "matches" => Infix::Matches,
            "+" => Infix::Calculate(Calculation::Add),
            "-" => Infix::Calculate(Calculation::Subtract),
            "*" => Infix::Calculate(Calculation::Multiply),
            "/" | "div" => Infix::Calculate(Calculation::Divide),
            "%" | "mod" => Infix::Calculate(Calculation::Remainder),
            "=" => return Err(self.refuse(self.start, "Nothing can be assigned; to compare use '=='.")),
            "instanceof" | "between" => {
                return Err(self.refuse(self.start, format!("'{sign}' is not available.")));
            }
            _ => return Ok(None),
        }))
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
