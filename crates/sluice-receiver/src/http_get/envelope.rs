//! Messages in one document: JSON, XML or text, written piece by piece.
//!
//! Content that is not UTF-8, and in XML content with characters that XML cannot hold, is written in base64 and
//! marked so. The text form is for people: what stands in a message is not told from what stands around it.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sluice_message::Message;

use super::accept::Format;

/// How much of a message's content is written at once, in bytes. Escaping makes six of one; base64 has no
/// padding within a number of bytes that three divides.
const STEP: usize = 6 << 10;

/// What went wrong after the answer had begun.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) text: String,
    /// The name of the error in the contract.
    pub(super) key: Cow<'static, str>,
    /// Its code here.
    pub(super) code: &'static str,
}

/// Messages that the client has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// How many; `None` where nobody can say.
    pub(super) messages: Option<u64>,
}

/// What stands behind the messages.
#[derive(Debug, Default)]
pub(super) struct End<'a> {
    pub(super) gap: Option<Gap>,
    pub(super) fault: Option<&'a Fault>,
    /// Where the client goes on, and how many messages there could have been.
    pub(super) page: Option<(&'a str, u32)>,
}

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) format: Format,
    /// Whether each message is with its headers.
    pub(super) headers: bool,
    /// Whether each message is with its metadata.
    pub(super) metadata: bool,
    empty: bool,
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Item {
    message: Message,
    /// Whether its content is written as text, else in base64.
    text: bool,
    /// Bytes of its content that are written.
    written: usize,
}

impl Envelope {
    pub(super) const fn new(format: Format, headers: bool, metadata: bool) -> Self {
        Self { format, headers, metadata, empty: true }
    }

    /// What stands before the first message.
    pub(super) const fn begin(&self) -> &'static str {
        match self.format {
            Format::Json => "{\"items\":[",
            Format::Xml => "<response><items>",
            Format::Text => "items\n",
        }
    }

    /// Begins a message: everything before its content. What follows is written by [`Self::step`].
    pub(super) fn item(&mut self, out: &mut String, message: Message, id: Option<&str>) -> Item {
        let text = std::str::from_utf8(message.payload()).ok();
        let text = text.filter(|text| self.format != Format::Xml || text.chars().all(is_xml)).is_some();
        let is_tombstone = message.payload_bytes().is_none();
        match self.format {
            Format::Json => {
                out.push_str(if self.empty { "{" } else { ",{" });
                if let Some(id) = id {
                    put(out, format_args!("\"id\":{},", json!(id)));
                }
                out.push_str(if is_tombstone { "\"content\":null" } else { "\"content\":\"" });
            }
            Format::Xml => {
                out.push_str("<item>");
                if let Some(id) = id {
                    put(out, format_args!("<id>{}</id>", escaped(id)));
                }
                out.push_str(match (text, is_tombstone) {
                    (_, true) => "<content tombstone=\"true\">",
                    (true, _) => "<content>",
                    (false, _) => "<content encoding=\"base64\">",
                });
            }
            Format::Text => {
                out.push_str("\nitem\n");
                if let Some(id) = id {
                    put(out, format_args!("id: {id}\n"));
                }
                out.push_str("content: ");
            }
        }
        self.empty = false;
        Item { message, text, written: 0 }
    }

    /// Goes on with a message: the next [`STEP`] of its content, and behind the last one everything else.
    /// True when it is written.
    pub(super) fn step(&self, out: &mut String, item: &mut Item) -> bool {
        let rest = &item.message.payload()[item.written..];
        let step = &rest[..rest.len().min(STEP)];
        if item.text {
            // A character that is not here as a whole is for the next step.
            let text = step.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            item.written += text.len();
            self.text_content(out, text);
        } else {
            item.written += step.len();
            BASE64_STANDARD.encode_string(step, out);
        }
        if item.written < item.message.payload().len() {
            return false;
        }
        match self.format {
            Format::Json => self.json_rest(out, item),
            Format::Xml => self.xml_rest(out, &item.message),
            Format::Text => self.text_rest(out, item),
        }
        true
    }

    fn text_content(&self, out: &mut String, text: &str) {
        match self.format {
            Format::Json => {
                let quoted = Value::from(text).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
            }
            Format::Xml => {
                // What would end the section is put into two, and what a reader would change is escaped.
                let text = text.replace("]]>", "]]]]><![CDATA[>").replace('\r', "]]>&#13;<![CDATA[");
                put(out, format_args!("<![CDATA[{text}]]>"));
            }
            Format::Text => out.push_str(text),
        }
    }

    /// What stands behind the last message.
    pub(super) fn end(&self, out: &mut String, end: &End<'_>) {
        match self.format {
            Format::Json => json_end(out, end),
            Format::Xml => xml_end(out, end),
            Format::Text => text_end(out, end),
        }
    }

    fn json_rest(&self, out: &mut String, item: &Item) {
        if item.message.payload_bytes().is_some() {
            out.push('"');
        }
        if !item.text {
            out.push_str(",\"encoding\":\"base64\"");
        }
        if self.headers {
            let mut headers: BTreeMap<&str, Vec<Cow<'_, str>>> = BTreeMap::new();
            for header in item.message.headers() {
                headers.entry(&header.name).or_default().push(String::from_utf8_lossy(&header.value));
            }
            put(out, format_args!(",\"headers\":{}", json!(headers)));
        }
        if self.metadata {
            let metadata: BTreeMap<&str, Cow<'_, str>> = item.message.metadata().collect();
            put(out, format_args!(",\"metadata\":{}", json!(metadata)));
        }
        out.push('}');
    }

    fn xml_rest(&self, out: &mut String, message: &Message) {
        out.push_str("</content>");
        if self.headers {
            out.push_str("<headers>");
            for header in message.headers() {
                let (name, value) = (escaped(&header.name), String::from_utf8_lossy(&header.value));
                put(out, format_args!("<header name=\"{name}\">{}</header>", escaped(&value)));
            }
            out.push_str("</headers>");
        }
        if self.metadata {
            out.push_str("<metadata>");
            for (name, value) in message.metadata() {
                put(out, format_args!("<entry name=\"{}\">{}</entry>", escaped(name), escaped(&value)));
            }
            out.push_str("</metadata>");
        }
        out.push_str("</item>");
    }

    fn text_rest(&self, out: &mut String, item: &Item) {
        out.push_str(if item.text { "\n" } else { "\nencoding: base64\n" });
        if item.message.payload_bytes().is_none() {
            out.push_str("tombstone: true\n");
        }
        if self.headers {
            for header in item.message.headers() {
                let value = String::from_utf8_lossy(&header.value);
                put(out, format_args!("header {}: {value}\n", header.name));
            }
        }
        if self.metadata {
            for (name, value) in item.message.metadata() {
                put(out, format_args!("metadata {name}: {value}\n"));
            }
        }
    }
}

fn json_end(out: &mut String, end: &End<'_>) {
    out.push(']');
    if let Some(Gap { messages }) = end.gap {
        put(out, format_args!(",\"gap\":{}", json!({ "messages": messages })));
    }
    if let Some(Fault { text, key, code }) = end.fault {
        let error = json!({ "content": text, "metadata": { "key": key, "code": code } });
        put(out, format_args!(",\"error\":{error}"));
    }
    if let Some((cursor, limit)) = end.page {
        put(out, format_args!(",\"pagination\":{}", json!({ "nextCursor": cursor, "limit": limit })));
    }
    out.push('}');
}

fn xml_end(out: &mut String, end: &End<'_>) {
    out.push_str("</items>");
    match end.gap {
        Some(Gap { messages: Some(count) }) => {
            put(out, format_args!("<gap><messages>{count}</messages></gap>"));
        }
        Some(Gap { messages: None }) => out.push_str("<gap><messages/></gap>"),
        None => {}
    }
    if let Some(Fault { text, key, code }) = end.fault {
        let entry = |name: &str, value: &str| format!("<entry name=\"{name}\">{}</entry>", escaped(value));
        let (text, key, code) = (escaped(text), entry("key", key), entry("code", code));
        put(out, format_args!("<error><content>{text}</content><metadata>{key}{code}</metadata></error>"));
    }
    if let Some((cursor, limit)) = end.page {
        let cursor = escaped(cursor);
        put(
            out,
            format_args!("<pagination><nextCursor>{cursor}</nextCursor><limit>{limit}</limit></pagination>"),
        );
    }
    out.push_str("</response>");
}

fn text_end(out: &mut String, end: &End<'_>) {
    match end.gap {
        Some(Gap { messages: Some(count) }) => put(out, format_args!("\ngap\nmessages: {count}\n")),
        Some(Gap { messages: None }) => out.push_str("\ngap\nmessages: unknown\n"),
        None => {}
    }
    if let Some(Fault { text, key, code }) = end.fault {
        put(out, format_args!("\nerror\ncontent: {text}\nkey: {key}\ncode: {code}\n"));
    }
    if let Some((cursor, limit)) = end.page {
        put(out, format_args!("\npagination\nnextCursor: {cursor}\nlimit: {limit}\n"));
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _written = out.write_fmt(text);
}

/// The characters of XML 1.0, section 2.2.
const fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Text for an element or an attribute. What XML cannot hold becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => put(&mut escaped, format_args!("&#{};", u32::from(character))),
            character if is_xml(character) => escaped.push(character),
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(payload: &[u8]) -> Message {
        let headers = [("X-A", "1"), ("X-A", "<2>")].into_iter().collect();
        Message::builder().payload(payload.to_vec()).headers(headers).key("k").build()
    }

    #[test]
    fn a_tombstone_is_no_empty_content() {
        let written = |format, message: Message| {
            let (mut out, mut envelope) = (String::new(), Envelope::new(format, false, false));
            let mut item = envelope.item(&mut out, message, None);
            assert!(envelope.step(&mut out, &mut item));
            out
        };
        let tombstone = |format| written(format, Message::builder().key("k").build());
        let empty = |format| written(format, Message::builder().payload("").build());
        assert_eq!(
            (tombstone(Format::Json), empty(Format::Json)),
            (r#"{"content":null}"#.into(), r#"{"content":""}"#.into())
        );
        assert_eq!(
            tombstone(Format::Xml),
            r#"<item><content tombstone="true"><![CDATA[]]></content></item>"#
        );
        assert_eq!(empty(Format::Xml), "<item><content><![CDATA[]]></content></item>");
        assert_eq!(tombstone(Format::Text), "\nitem\ncontent: \ntombstone: true\n");
        assert_eq!(empty(Format::Text), "\nitem\ncontent: \n");
    }

    fn document(format: Format, payloads: &[&[u8]], more: bool) -> String {
        let mut envelope = Envelope::new(format, more, more);
        let mut out = envelope.begin().to_owned();
        for payload in payloads {
            let mut item = envelope.item(&mut out, message(payload), more.then_some("id"));
            loop {
                let before = out.len();
                let done = envelope.step(&mut out, &mut item);
                assert!(out.len() - before < 7 * STEP);
                if done {
                    break;
                }
            }
        }
        let fault = Fault { text: "Gone & lost.".to_owned(), key: "KEY".into(), code: "a.code" };
        let all =
            End { gap: Some(Gap { messages: Some(3) }), fault: Some(&fault), page: Some(("Y3Vyc29y", 7)) };
        envelope.end(&mut out, &if more { all } else { End::default() });
        out
    }

    #[test]
    fn json_holds_messages_their_error_and_the_next_page() {
        assert_eq!(document(Format::Json, &[], false), r#"{"items":[]}"#);
        let read: Value =
            serde_json::from_str(&document(Format::Json, &[b"a\n\"b\"", b"\xff"], true)).unwrap();
        let rest = json!({ "headers": { "X-A": ["1", "<2>"] }, "metadata": { "key": "k" } });
        let mut items = [
            json!({ "id": "id", "content": "a\n\"b\"" }),
            json!({ "id": "id", "content": "/w==", "encoding": "base64" }),
        ];
        for item in &mut items {
            item.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        }
        let expected = json!({
            "items": items,
            "gap": { "messages": 3 },
            "error": { "content": "Gone & lost.", "metadata": { "key": "KEY", "code": "a.code" } },
            "pagination": { "nextCursor": "Y3Vyc29y", "limit": 7 },
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn xml_holds_the_same() {
        assert_eq!(document(Format::Xml, &[], false), "<response><items></items></response>");
        assert_eq!(
            document(Format::Xml, &[b"a]]>\r<b"], true),
            "<response><items><item><id>id</id>\
             <content><![CDATA[a]]]]><![CDATA[>]]>&#13;<![CDATA[<b]]></content>\
             <headers><header name=\"X-A\">1</header><header name=\"X-A\">&lt;2&gt;</header></headers>\
             <metadata><entry name=\"key\">k</entry></metadata></item></items>\
             <gap><messages>3</messages></gap><error><content>Gone &amp; lost.</content><metadata><entry name=\"key\">KEY</entry>\
             <entry name=\"code\">a.code</entry></metadata></error>\
             <pagination><nextCursor>Y3Vyc29y</nextCursor><limit>7</limit></pagination></response>"
        );
        let binary = "<content encoding=\"base64\">AA==</content>";
        assert!(document(Format::Xml, &[b"\0"], false).contains(binary));
    }

    #[test]
    fn text_holds_the_same() {
        assert_eq!(document(Format::Text, &[b"a"], false), "items\n\nitem\ncontent: a\n");
        assert_eq!(
            document(Format::Text, &[b"a", b"\xff"], true),
            "items\n\nitem\nid: id\ncontent: a\nheader X-A: 1\nheader X-A: <2>\nmetadata key: k\n\
             \nitem\nid: id\ncontent: /w==\nencoding: base64\nheader X-A: 1\nheader X-A: <2>\nmetadata key: k\n\
             \ngap\nmessages: 3\n\nerror\ncontent: Gone & lost.\nkey: KEY\ncode: a.code\n\
             \npagination\nnextCursor: Y3Vyc29y\nlimit: 7\n"
        );
    }

    #[test]
    fn a_gap_of_which_nobody_knows_the_size_is_told_all_the_same() {
        for (format, told) in [
            (Format::Json, r#"],"gap":{"messages":null}}"#),
            (Format::Xml, "</items><gap><messages/></gap></response>"),
            (Format::Text, "\ngap\nmessages: unknown\n"),
        ] {
            let mut out = String::new();
            let end = End { gap: Some(Gap { messages: None }), ..End::default() };
            Envelope::new(format, false, false).end(&mut out, &end);
            assert_eq!(out, told);
        }
    }

    #[test]
    fn long_content_is_the_same_in_steps() {
        for content in ["\u{1}".repeat(3 * STEP), "ä€😀".repeat(STEP), "x".repeat(STEP), String::new()] {
            let read: Value =
                serde_json::from_str(&document(Format::Json, &[content.as_bytes()], false)).unwrap();
            assert!(read["items"][0]["content"] == content);
        }
        let binary = vec![0xff; 2 * STEP + 1];
        let read: Value = serde_json::from_str(&document(Format::Json, &[&binary], false)).unwrap();
        assert!(read["items"][0]["content"] == BASE64_STANDARD.encode(&binary));
        // The end of a section, and a line break of two characters, on the border of two steps.
        let content = format!("{}]]>{}\r\n", "x".repeat(STEP - 2), "y".repeat(STEP - 2));
        let read = document(Format::Xml, &[content.as_bytes()], false);
        let read = read.replace("]]>&#13;<![CDATA[", "\r").replace("]]><![CDATA[", "");
        assert!(read.contains(&format!("<content><![CDATA[{content}]]></content>")));
    }

    proptest! {
        #[test]
        fn json_gives_back_any_content(payloads in proptest::collection::vec(".*", 0..5)) {
            let bytes: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
            let read: Value = serde_json::from_str(&document(Format::Json, &bytes, false)).unwrap();
            let contents: Vec<_> =
                read["items"].as_array().unwrap().iter().map(|item| item["content"].as_str().unwrap()).collect();
            prop_assert_eq!(contents, payloads);
        }
    }
}
