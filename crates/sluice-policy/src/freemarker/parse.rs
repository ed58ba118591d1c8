//! From text to a template. What is not known is refused with its line and column.

use sluice_api::Problem;

use super::{
    MAX_TEMPLATE_BYTES, Part, Template,
    expr::{BuiltIn, Expr},
};
use crate::site::{Refused, Site};

/// How deep conditions and brackets may nest.
const MAX_NESTING: usize = 32;
/// How many operators and built-ins may stand between two braces; bounds the depth of what they make.
const MAX_OPERATORS: usize = 128;
/// What begins an expression in the other language, behind a brace and spaces.
const EXPRESSIONS: [&str; 3] = ["#", "(", "T("];
/// What begins something of FreeMarker. All are looked at, so that nothing of it is printed as it stands.
const MARKS: [&str; 6] = ["${", "#{", "<#", "</#", "<@", "</@"];

/// Parses a template; a problem is told at `path`.
pub(crate) fn parse(path: &str, source: &str, site: &Site<'_>) -> Result<Template, Problem> {
    if source.len() > MAX_TEMPLATE_BYTES {
        let message = format!("A template has at most {MAX_TEMPLATE_BYTES} bytes.");
        return Err(Problem::new(path, "template.invalid", message));
    }
    let mut parser = Parser { source, at: 0, site, nesting: 0, operators: 0 };
    let parsed = parser.parts().and_then(|(parts, end)| match end {
        End::Source => Ok(Template(parts)),
        End::Tag(_, at) => Err(Fault::at(at, "This belongs to an <#if>, but none is open here.")),
    });
    parsed.map_err(|Fault { at, code, message }| {
        let (line, column) = place(source, at);
        Problem::new(path, code, format!("Line {line}, column {column}: {message}"))
    })
}

/// The line and the column of a byte, both from 1; columns count characters.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at.min(source.len())];
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[begin..].chars().count() + 1)
}

struct Fault {
    at: usize,
    code: &'static str,
    message: String,
}

impl Fault {
    fn at(at: usize, message: impl Into<String>) -> Self {
        Self { at, code: "template.invalid", message: message.into() }
    }
}

/// What a list of parts ended at.
enum End {
    Source,
    /// One of the tags that do not stand alone, and where.
    Tag(Tag, usize),
}

enum Tag {
    ElseIf(Expr),
    Else,
    EndIf,
}

struct Parser<'s> {
    source: &'s str,
    at: usize,
    site: &'s Site<'s>,
    nesting: usize,
    operators: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn parts(&mut self) -> Result<(Vec<Part>, End), Fault> {
        let mut parts = Vec::new();
        loop {
            let plain = self.rest().len().min(self.next_mark());
            if plain > 0 {
                parts.push(Part::Text(self.rest()[..plain].into()));
                self.at += plain;
            }
            let at = self.at;
            if self.rest().is_empty() {
                return Ok((parts, End::Source));
            } else if self.take("${") {
                self.operators = 0;
                let value = self.or()?;
                self.expect("}", "'}' is missing here, the end of '${'.")?;
                parts.push(Part::Value(value));
            } else if self.take("<#--") {
                let end = self
                    .rest()
                    .find("-->")
                    .ok_or_else(|| Fault::at(at, "This comment has no end: '-->'."))?;
                self.at += end + "-->".len();
            } else if self.rest().starts_with('{') {
                parts.push(self.expression()?);
            } else if self.directive("<#if") {
                parts.push(self.condition(at)?);
            } else if self.directive("<#elseif") {
                return Ok((parts, End::Tag(Tag::ElseIf(self.tag_condition()?), at)));
            } else if self.directive("<#else") {
                self.end_of_tag()?;
                return Ok((parts, End::Tag(Tag::Else, at)));
            } else if self.take("</#if>") {
                return Ok((parts, End::Tag(Tag::EndIf, at)));
            } else {
                let message = "This is not known here. Known are ${…}, {#…}, <#if>, <#elseif>, <#else>, </#if> and \
                               <#-- … -->.";
                return Err(Fault::at(at, message));
            }
        }
    }

    /// How many bytes of plain text come first.
    fn next_mark(&self) -> usize {
        let rest = self.rest();
        let mut places =
            rest.char_indices().filter(|(_, character)| matches!(character, '$' | '#' | '<' | '{'));
        let begins = |found: &str| match found.strip_prefix('{') {
            Some(inside) => EXPRESSIONS.iter().any(|mark| inside.trim_start_matches(' ').starts_with(mark)),
            None => MARKS.iter().any(|mark| found.starts_with(mark)),
        };
        places.find(|(at, _)| begins(&rest[*at..])).map_or(rest.len(), |(at, _)| at)
    }

    /// `{#…}`, up to the brace that ends it.
    fn expression(&mut self) -> Result<Part, Fault> {
        let at = self.at;
        let end = end_of_expression(self.rest())
            .ok_or_else(|| Fault::at(at, "This expression has no end: '}'."))?;
        let source = &self.source[at..at + end];
        let parsed = self.site.parse(source).map_err(|Refused { column, code, message }| {
            let before = source.char_indices().nth(column.map_or(0, |column| column - 1));
            Fault { at: at + before.map_or(source.len(), |(byte, _)| byte), code, message }
        })?;
        self.at += end;
        Ok(Part::Expression(parsed))
    }

    /// What follows `<#if`, up to its end.
    fn condition(&mut self, opened: usize) -> Result<Part, Fault> {
        self.deeper(opened)?;
        let mut condition = self.tag_condition()?;
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let (parts, end) = self.parts()?;
            branches.push((condition, parts));
            match end {
                End::Tag(Tag::ElseIf(next), _) => condition = next,
                End::Tag(Tag::EndIf, _) => break,
                End::Tag(Tag::Else, _) => {
                    let (parts, end) = self.parts()?;
                    otherwise = parts;
                    match end {
                        End::Tag(Tag::EndIf, _) => break,
                        End::Tag(_, at) => return Err(Fault::at(at, "After <#else> comes </#if>.")),
                        End::Source => return Err(Fault::at(opened, "This <#if> has no end: </#if>.")),
                    }
                }
                End::Source => return Err(Fault::at(opened, "This <#if> has no end: </#if>.")),
            }
        }
        self.nesting -= 1;
        Ok(Part::If(branches, otherwise))
    }

    fn tag_condition(&mut self) -> Result<Expr, Fault> {
        self.operators = 0;
        let condition = self.or()?;
        self.end_of_tag()?;
        Ok(condition)
    }

    fn end_of_tag(&mut self) -> Result<(), Fault> {
        self.expect(">", "'>' is missing here, the end of the tag.")
    }

    /// Takes a tag's name where it is whole: `<#if` is not the beginning of `<#iffy`.
    fn directive(&mut self, name: &str) -> bool {
        let follows = self.rest().strip_prefix(name);
        follows.is_some_and(|rest| !rest.starts_with(is_name)) && self.take(name)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn expect(&mut self, text: &str, message: &str) -> Result<(), Fault> {
        self.skip_space();
        if self.take(text) { Ok(()) } else { Err(Fault::at(self.at, message)) }
    }

    fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Fault::at(at, format!("Nesting goes at most {MAX_NESTING} deep.")));
        }
        Ok(())
    }

    fn operator(&mut self, sign: &str) -> Result<bool, Fault> {
        self.skip_space();
        let at = self.at;
        if !self.take(sign) {
            return Ok(false);
        }
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(Fault::at(at, format!("There are at most {MAX_OPERATORS} operators in one value.")));
        }
        Ok(true)
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        let mut all = vec![self.and()?];
        while self.operator("||")? {
            all.push(self.and()?);
        }
        Ok(one_or(all, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let mut all = vec![self.not()?];
        while self.operator("&&")? {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, Fault> {
        if self.operator("!")? {
            return Ok(Expr::Not(Box::new(self.not()?)));
        }
        let left = self.value()?;
        for (sign, equal) in [("==", true), ("!=", false)] {
            if self.operator(sign)? {
                return Ok(Expr::Compare(Box::new([left, self.value()?]), equal));
            }
        }
        Ok(left)
    }

    /// A value with what stands behind it: built-ins, defaults, `??`.
    fn value(&mut self) -> Result<Expr, Fault> {
        let mut value = self.primary()?;
        loop {
            if self.operator("??")? {
                value = Expr::Exists(Box::new(value));
            } else if self.operator("?")? {
                value = Expr::BuiltIn(Box::new(value), self.built_in()?);
            } else if !self.rest().starts_with("!=") && self.operator("!")? {
                let default = if self.begins_value() { Some(Box::new(self.value()?)) } else { None };
                value = Expr::Default(Box::new(value), default);
            } else {
                return Ok(value);
            }
        }
    }

    fn begins_value(&mut self) -> bool {
        self.skip_space();
        self.rest().starts_with(|character| is_name(character) || matches!(character, '"' | '\'' | '('))
    }

    fn built_in(&mut self) -> Result<BuiltIn, Fault> {
        self.skip_space();
        let at = self.at;
        let name = self.name();
        let found = BuiltIn::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, built_in)| *built_in).ok_or_else(|| {
            let known: Vec<_> = BuiltIn::ALL.iter().map(|(name, _)| *name).collect();
            Fault::at(at, format!("There is no built-in '{name}' here. Known are: {}.", known.join(", ")))
        })
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        self.skip_space();
        let at = self.at;
        match self.rest().chars().next() {
            Some('"' | '\'') => self.quoted().map(|text| Expr::Literal(text.into())),
            Some(digit) if digit.is_ascii_digit() => Ok(Expr::Literal(self.number().into())),
            Some(letter) if is_name(letter) => self.path(),
            Some('(') => {
                self.at += 1;
                self.deeper(at)?;
                let inner = self.or()?;
                self.expect(")", "')' is missing here.")?;
                self.nesting -= 1;
                Ok(inner)
            }
            _ => Err(Fault::at(
                at,
                "A value is missing here: a name such as message.content, or a text in quotes.",
            )),
        }
    }

    /// `message.headers['x'][0]`, as the expression that it is; `true` and `false` are themselves.
    fn path(&mut self) -> Result<Expr, Fault> {
        let at = self.at;
        let name = self.name();
        if matches!(name, "true" | "false") {
            return Ok(Expr::Literal(name.into()));
        }
        let mut source = format!("{{#{name}");
        loop {
            if self.take(".") {
                let name = self.name();
                if name.is_empty() {
                    return Err(Fault::at(self.at, "A name is missing behind the dot."));
                }
                source.push('.');
                source.push_str(name);
            } else if self.take("[") {
                self.skip_space();
                source.push('[');
                if self.rest().starts_with(['"', '\'']) {
                    let key = self.quoted()?;
                    source.push('\'');
                    source.push_str(&key.replace('\'', "''"));
                    source.push('\'');
                } else {
                    let number = self.number();
                    if number.is_empty() {
                        return Err(Fault::at(self.at, "A number or a text in quotes is missing here."));
                    }
                    source.push_str(number);
                }
                self.expect("]", "']' is missing here.")?;
                source.push(']');
            } else {
                break;
            }
        }
        if self.rest().starts_with('(') {
            return Err(Fault::at(self.at, "Nothing can be called in ${…}; an expression in {#…} can."));
        }
        let written = &self.source[at..self.at];
        source.push('}');
        let parsed = self.site.parse(&source);
        let parsed = parsed.map_err(|Refused { code, message, .. }| Fault { at, code, message })?;
        Ok(Expr::Path(parsed, written.into()))
    }

    fn name(&mut self) -> &str {
        self.take_while(is_name)
    }

    fn number(&mut self) -> &str {
        self.take_while(|character| character.is_ascii_digit())
    }

    fn take_while(&mut self, wanted: fn(char) -> bool) -> &str {
        let rest = &self.source[self.at..];
        let taken = &rest[..rest.find(|character| !wanted(character)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// A text in quotes of either kind.
    fn quoted(&mut self) -> Result<String, Fault> {
        let opened = self.at;
        let mut text = String::new();
        let mut characters = self.source[opened..].char_indices();
        let quote = characters.next().map_or('"', |(_, quote)| quote);
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some(plain @ ('"' | '\'' | '\\' | '{' | '$')) => text.push(plain),
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    _ => {
                        return Err(Fault::at(
                            opened + offset,
                            "Known are \\\", \\', \\\\, \\{, \\n, \\r and \\t.",
                        ));
                    }
                },
                '$' | '#' if self.source[opened + offset + 1..].starts_with('{') => {
                    let message = "A text in quotes cannot have values in it; put them beside it.";
                    return Err(Fault::at(opened + offset, message));
                }
                end if end == quote => {
                    self.at = opened + offset + 1;
                    return Ok(text);
                }
                plain => text.push(plain),
            }
        }
        Err(Fault::at(opened, "This text has no end: the same quote once more."))
    }
}

fn one_or(mut all: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        last => {
            all.extend(last);
            join(all)
        }
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where the expression at the beginning of a text ends, behind its brace. Braces in quotes do not count.
fn end_of_expression(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), end) if open == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 1 => return Some(at + 1),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}
