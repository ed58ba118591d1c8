//! What stands where a value is wanted: literals, lists and maps, roots with their properties, functions,
//! and what is reached of classes.

use super::{Parsed, Parser};
use crate::{
    class::{self, Function},
    function,
    lexer::{self, Token},
    root::{self, Property, Root},
    tree::{Class, Node},
};

impl Parser<'_> {
    /// A value without what may follow it.
    pub(super) fn primary(&mut self) -> Parsed<Node> {
        let at = self.start;
        let node = match std::mem::replace(&mut self.token, Token::End) {
            Token::Text(text) => Node::Text(text.into()),
            Token::Integer(number) => Node::Integer(number),
            Token::Float(number) => Node::Float(number),
            Token::Word(word) => {
                self.advance()?;
                return self.word(word, at);
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
                return self.braces();
            }
            other => {
                self.token = other;
                return Err(self.unexpected("a value"));
            }
        };
        self.advance()?;
        Ok(node)
    }

    /// What a word begins that stands where a value is wanted.
    fn word(&mut self, word: &str, at: usize) -> Parsed<Node> {
        match word {
            "T" if self.token == Token::Sign("(") => self.function_of_class(),
            "new" if matches!(self.token, Token::Word(_)) => self.constructor(),
            _ if word.eq_ignore_ascii_case("true") => Ok(Node::Boolean(true)),
            _ if word.eq_ignore_ascii_case("false") => Ok(Node::Boolean(false)),
            _ if word.eq_ignore_ascii_case("null") => Ok(Node::Null),
            _ if self.scopes > 0 => {
                self.count()?;
                if self.take("(")? {
                    return self.call(Node::This, word, false, at);
                }
                Ok(Node::Member { of: Box::new(Node::This), key: word.into(), safe: false })
            }
            _ => {
                let property = root::bare(word).ok_or_else(|| {
                    let known = root::names();
                    self.refuse(
                        at,
                        format!("'{word}' is not known. What can be read begins with #: {known}."),
                    )
                })?;
                self.reads.note(property.source);
                Ok(Node::Property(property))
            }
        }
    }

    /// A list, or a map where its first item is followed by a colon.
    fn braces(&mut self) -> Parsed<Node> {
        if self.take(":")? {
            self.expect("}")?;
            return Ok(Node::Map(Vec::new()));
        }
        let is_map = match &self.token {
            Token::Word(_) | Token::Text(_) => lexer::token(self.text, self.end)?.0 == Token::Sign(":"),
            _ => false,
        };
        if !is_map {
            return self.until("}").map(Node::List);
        }
        let mut entries: Vec<(Box<str>, Node)> = Vec::new();
        loop {
            let at = self.start;
            let name: Box<str> = match &self.token {
                Token::Word(word) => (*word).into(),
                Token::Text(text) => (&**text).into(),
                _ => return Err(self.unexpected("the name of an entry")),
            };
            if entries.iter().any(|(known, _)| *known == name) {
                return Err(self.refuse(at, format!("The map has '{name}' twice.")));
            }
            self.advance()?;
            self.expect(":")?;
            entries.push((name, self.expression()?));
            if self.take("}")? {
                return Ok(Node::Map(entries));
            }
            self.expect(",")?;
        }
    }

    /// The class between the parentheses after a `T`.
    fn class(&mut self) -> Parsed<String> {
        self.expect("(")?;
        let class = self.dotted()?;
        self.expect(")")?;
        Ok(class)
    }

    fn dotted(&mut self) -> Parsed<String> {
        let mut class = self.name("the name of a class")?.to_owned();
        while self.take(".")? {
            class = format!("{class}.{}", self.name("the name of a class")?);
        }
        Ok(class)
    }

    /// The class after `instanceof`.
    pub(super) fn class_to_test(&mut self) -> Parsed<Class> {
        let at = self.start;
        if self.name("T(…) with a class")? != "T" {
            return Err(self.refuse(at, "After 'instanceof' stands a class, as in T(String)."));
        }
        let class = self.class()?;
        class::for_instanceof(&class).ok_or_else(|| {
            self.refuse(at, format!("No value here is of the class '{class}'; there are texts, numbers, booleans, List and Map."))
        })
    }

    fn function_of_class(&mut self) -> Parsed<Node> {
        let at = self.start + 1;
        self.count()?;
        let class = self.class()?;
        class::check(&class).map_err(|reason| self.refuse(at, reason))?;
        self.expect(".")?;
        let name_at = self.start;
        let name = self.name("the name of a function")?;
        if self.take("(")? {
            return self.apply(&class, name, name_at);
        }
        class::constant(&class, name)
            .ok_or_else(|| self.refuse(name_at, format!("{class} has no constant '{name}' here.")))
    }

    fn constructor(&mut self) -> Parsed<Node> {
        let at = self.start;
        self.count()?;
        let class = self.dotted()?;
        class::check(&class).map_err(|reason| self.refuse(at, reason))?;
        self.expect("(")?;
        self.apply(&class, class::CONSTRUCTOR, at)
    }

    fn apply(&mut self, class: &str, name: &str, at: usize) -> Parsed<Node> {
        let first_at = self.start;
        let arguments = self.until(")")?;
        let function = Function::find(class, name, arguments.len());
        let function = function.map_err(|reason| self.refuse(at, reason))?;
        let checked =
            if name == class::CONSTRUCTOR { class.rsplit('.').next().unwrap_or(class) } else { name };
        self.check_literal(checked, arguments.first(), first_at)?;
        Ok(Node::Static { function, arguments })
    }

    /// What follows a `#`: a function with its arguments, or a root with its property.
    fn root(&mut self) -> Parsed<Node> {
        let at = self.start;
        let name = self.name("a name")?;
        self.count()?;
        if self.take("(")? {
            return function::call(self, name, at);
        }
        if name == "this" && self.scopes > 0 {
            return Ok(Node::This);
        }
        match root::find(name) {
            Some(Root::Properties(properties)) => self.property(name, properties),
            Some(Root::Map(property)) => {
                self.reads.note(property.source);
                Ok(Node::Property(property))
            }
            Some(Root::Secrets) => self.secret(),
            None => {
                let (roots, functions) = (root::names(), function::names());
                Err(self.refuse(at, format!("There is no #{name}. Known are: {roots}, {functions}.")))
            }
        }
    }

    fn property(&mut self, root: &str, properties: &'static [Property]) -> Parsed<Node> {
        let in_brackets = self.take("[")?;
        if !in_brackets && !self.take(".")? && !self.take("?.")? {
            return Err(self.unexpected(&format!("a property of #{root}")));
        }
        let at = self.start;
        let wanted: &str = match &self.token {
            Token::Word(word) if !in_brackets => word,
            Token::Text(text) if in_brackets => text,
            _ => return Err(self.unexpected(&format!("a property of #{root}"))),
        };
        let Some(property) = properties.iter().find(|property| property.name == wanted) else {
            let known: Vec<_> = properties.iter().map(|property| property.name).collect();
            let message = format!("#{root} has no property '{wanted}'. Known are: {}.", known.join(", "));
            return Err(self.refuse(at, message));
        };
        self.advance()?;
        if in_brackets {
            self.expect("]")?;
        }
        self.reads.note(property.source);
        Ok(Node::Property(property))
    }

    /// `.get('name')`: a name that is known before a message comes, so that a deployment can be refused
    /// that asks for a secret that there is not.
    fn secret(&mut self) -> Parsed<Node> {
        self.expect(".")?;
        let at = self.start;
        if self.name("get('…')")? != "get" {
            return Err(self.refuse(at, "A secret is read by #secrets.get('…')."));
        }
        self.expect("(")?;
        let Token::Text(name) = &self.token else {
            return Err(self.unexpected("the name of a secret, in quotes"));
        };
        let name: Box<str> = (&**name).into();
        self.advance()?;
        self.expect(")")?;
        self.reads.secrets.push(name.clone());
        Ok(Node::Secret(name))
    }
}
