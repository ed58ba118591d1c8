//! What a condition can read: variables that are made when they are asked for, by their whole path where that is
//! known, so that one header or one field of the content costs no copy of all.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use cel::{
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value as Json;
use sluice_expression::{EvalContext, Request};
use sluice_message::{Headers, Message};

use crate::identity;

/// As much as one evaluation may read, in bytes: 8 MiB.
const MOST_READ: usize = 8 << 20;
/// What each value of JSON counts for, beside its text: a condition goes through at most 4,096.
const JSON_VALUE: usize = 2048;

/// Everything that one evaluation may read.
pub(crate) struct View<'a> {
    context: EvalContext<'a>,
    message: Option<&'a Message>,
    channel: &'a str,
    json: OnceLock<Option<Cow<'a, Json>>>,
    read: AtomicUsize,
}

/// A value of the language that may borrow what it shows.
type Shown<'v> = Box<dyn Val + 'v>;

impl<'a> View<'a> {
    pub(crate) const fn new(
        context: EvalContext<'a>,
        message: Option<&'a Message>,
        channel: &'a str,
    ) -> Self {
        Self { context, message, channel, json: OnceLock::new(), read: AtomicUsize::new(0) }
    }

    /// The id of the API.
    pub(super) fn api(&self) -> Option<&'a str> {
        self.context.api().map(|api| &*api.id)
    }

    /// Whether more was to be read than may be.
    pub(super) fn is_exhausted(&self) -> bool {
        self.read.load(Ordering::Relaxed) > MOST_READ
    }

    /// Counts what is read; `None` where it is too much. What is refused once stays refused.
    fn count(&self, bytes: usize) -> Option<()> {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= MOST_READ).then_some(())
    }

    fn text<'v>(&self, text: impl Into<Cow<'v, str>>) -> Option<Shown<'v>> {
        let text = text.into();
        self.count(text.len())?;
        Some(Box::new(CelString::from(text)))
    }

    fn optional<'v>(&self, text: Option<impl Into<Cow<'v, str>>>) -> Option<Shown<'v>> {
        text.map_or_else(|| Some(null()), |text| self.text(text))
    }

    fn variable<'v>(&'v self, path: &str) -> Option<Shown<'v>> {
        let (root, member) = path.split_once('.').unwrap_or((path, ""));
        match (root, member) {
            ("channel", "") => self.text(self.channel),
            ("subject", "") => self.optional(identity::subject(&self.context, self.message)),
            ("roles", "") => {
                let roles = identity::roles(&self.context, self.message);
                Some(list(roles.map(|role| self.text(role)).collect::<Option<_>>()?))
            }
            ("api", _) => {
                self.object(self.context.api(), member, &["id", "name", "version"], |api, member| {
                    self.text(match member {
                        "id" => &*api.id,
                        "name" => &*api.name,
                        _ => &*api.version,
                    })
                })
            }
            ("request", _) => {
                let members = ["headers", "host", "method", "params", "path", "remoteAddress"];
                self.object(self.context.request(), member, &members, |request, member| {
                    self.of_request(request, member)
                })
            }
            ("message", _) => match member.strip_prefix("json.") {
                Some(path) => self.json_at(path),
                None => {
                    let members = ["headers", "json", "key", "payload"];
                    self.object(self.message, member, &members, |message, member| {
                        self.of_message(message, member)
                    })
                }
            },
            _ => None,
        }
    }

    /// One member of a thing, all of them, or null where there is no such thing.
    fn object<'v, T>(
        &self,
        thing: Option<T>,
        member: &str,
        members: &[&'static str],
        read: impl Fn(&T, &str) -> Option<Shown<'v>>,
    ) -> Option<Shown<'v>> {
        match (thing, member) {
            (None, "") => Some(null()),
            (None, _) => None,
            (Some(thing), "") => {
                let all = members.iter().map(|member| Some(((*member).into(), read(&thing, member)?)));
                Some(map(all.collect::<Option<_>>()?))
            }
            (Some(thing), member) => members.contains(&member).then(|| read(&thing, member))?,
        }
    }

    fn of_request<'v>(&self, request: &'v Request, member: &str) -> Option<Shown<'v>> {
        match member {
            "method" => self.text(&*request.method),
            "path" => self.text(&*request.path),
            "host" => self.text(&*request.host),
            "remoteAddress" => self.text(&*request.remote_address),
            "params" => {
                // In reverse, so that of several the first is what stays.
                let params = request.params.iter().rev();
                let params = params.map(|(name, value)| Some(((&**name).into(), self.text(&**value)?)));
                Some(map(params.collect::<Option<_>>()?))
            }
            _ => self.headers(&request.headers),
        }
    }

    fn of_message<'v>(&'v self, message: &'v Message, member: &str) -> Option<Shown<'v>> {
        match member {
            "headers" => self.headers(message.headers()),
            "key" => self.optional(message.key().map(|key| String::from_utf8_lossy(key))),
            "payload" => self.optional(std::str::from_utf8(message.payload()).ok()),
            _ => self.parsed().map_or_else(|| Some(null()), |json| self.of_json(json)),
        }
    }

    /// Headers by their names in lower case; of several of one name the first.
    fn headers<'v>(&self, headers: &'v Headers) -> Option<Shown<'v>> {
        let mut shown: HashMap<CelMapKey<'v>, Shown<'v>> = HashMap::with_capacity(headers.len());
        for header in headers {
            self.count(header.name.len())?;
            let key = CelMapKey::from(header.name.to_ascii_lowercase());
            if let Entry::Vacant(free) = shown.entry(key) {
                free.insert(self.text(String::from_utf8_lossy(&header.value))?);
            }
        }
        Some(map(shown))
    }

    fn parsed(&self) -> Option<&Json> {
        self.json.get_or_init(|| self.message.and_then(Message::json)).as_deref()
    }

    /// What stands at the end of a path of fields; `None` where that has a part that is not there.
    fn json_at<'v>(&'v self, path: &str) -> Option<Shown<'v>> {
        let found = path.split('.').try_fold(self.parsed()?, |json, field| json.get(field))?;
        self.of_json(found)
    }

    fn of_json<'v>(&self, json: &'v Json) -> Option<Shown<'v>> {
        self.count(JSON_VALUE)?;
        Some(match json {
            Json::Null => null(),
            Json::Bool(value) => Box::new(CelBool::from(*value)),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Box::new(CelInt::from(number)),
                (None, Some(number)) => Box::new(CelUInt::from(number)),
                (None, None) => Box::new(CelDouble::from(number.as_f64()?)),
            },
            Json::String(text) => self.text(&**text)?,
            Json::Array(items) => list(items.iter().map(|item| self.of_json(item)).collect::<Option<_>>()?),
            Json::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, value)| Some(((&**name).into(), self.of_json(value)?)));
                map(fields.collect::<Option<_>>()?)
            }
        })
    }
}

impl VariableResolver for View<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.variable(variable).map(CowVal::Owned)
    }
}

fn null<'v>() -> Shown<'v> {
    Box::new(CelNull)
}

fn list(items: Vec<Shown<'_>>) -> Shown<'_> {
    Box::new(CelList::from(items))
}

fn map<'v>(entries: HashMap<CelMapKey<'v>, Shown<'v>>) -> Shown<'v> {
    Box::new(CelMap::from(entries))
}
