//! The roots of the language, `#message`, `#request` and so on, and their properties: the one table of what
//! can be read, from which names are resolved and errors list what is known.

use bytes::Bytes;

use crate::{
    Environment, EvalContext, Node, Request,
    bound::bytes_weight,
    context::Subscription,
    document,
    error::EvalError,
    map::Map,
    tree::Kind::{self, Any, Boolean, List, Number, Text},
    value::Value,
};

/// What follows the name of a root.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Root {
    /// A dot, or a text in brackets, and one of these properties.
    Properties(&'static [Property]),
    /// Whatever may follow a map: the root itself is one.
    Map(&'static Property),
    /// `.get('name')`, with a name that is known when the expression is written.
    Secrets,
}

/// Something that can be read.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) source: Source,
    /// What its value will be; texts that may be null are not certain.
    pub(crate) kind: Kind,
    read: Read,
    /// Whether the body of the request is parsed to make its value.
    parses: bool,
}

type Read = for<'a> fn(&EvalContext<'a>) -> Result<Value<'a>, EvalError>;

/// What has to be there for a property to have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Message,
    Subscription,
    /// The HTTP exchange: the request and its response.
    Exchange,
    /// What is known of a client, and costs nothing to make.
    Client,
    /// What is there before a client comes.
    Surroundings,
}

impl Property {
    const fn new(name: &'static str, source: Source, kind: Kind, read: Read) -> Self {
        Self { name, source, kind, read, parses: false }
    }

    const fn parsing(mut self) -> Self {
        self.parses = true;
        self
    }

    /// What it costs to make its value, in nodes, where that is more than its size says.
    pub(crate) fn cost(&self, context: &EvalContext<'_>) -> usize {
        match body(context) {
            Some(body) if self.parses => bytes_weight(body.len()),
            _ => 0,
        }
    }

    /// Its value in a context.
    pub(crate) fn read<'a>(&self, context: &EvalContext<'a>) -> Result<Value<'a>, EvalError> {
        (self.read)(context)
    }

    /// Whether it is the payload, which is parsed once for all who ask.
    pub(crate) fn is_payload(&self) -> bool {
        self.source == Source::Message && self.name == "content"
    }
}

/// Every root.
const ROOTS: [(&str, Root); 12] = [
    ("message", Root::Properties(MESSAGE)),
    ("subscription", Root::Properties(SUBSCRIPTION)),
    ("request", Root::Properties(REQUEST)),
    ("response", Root::Properties(RESPONSE)),
    ("context", Root::Properties(CONTEXT)),
    ("api", Root::Properties(API)),
    ("properties", Root::Map(&API_PROPERTIES)),
    ("dictionaries", Root::Map(&DICTIONARIES)),
    ("secrets", Root::Secrets),
    ("node", Root::Properties(NODE)),
    ("endpoints", Root::Map(&ENDPOINTS)),
    ("parameters", Root::Map(&PARAMETERS)),
];

/// The root of this name.
pub(crate) fn find(name: &str) -> Option<Root> {
    ROOTS.into_iter().find(|(known, _)| *known == name).map(|(_, root)| root)
}

/// The names of all roots, as an error lists them.
pub(crate) fn names() -> String {
    ROOTS.map(|(name, _)| format!("#{name}")).join(", ")
}

/// The content of the message by the one name that needs no `#`, as descriptions of conditions have it.
pub(crate) fn bare(name: &str) -> Option<&'static Property> {
    MESSAGE.iter().find(|property| name == "payload" && property.is_payload())
}

const fn message(name: &'static str, kind: Kind, read: Read) -> Property {
    Property::new(name, Source::Message, kind, read)
}

const fn subscription(name: &'static str, kind: Kind, read: Read) -> Property {
    Property::new(name, Source::Subscription, kind, read)
}

const fn exchange(name: &'static str, kind: Kind, read: Read) -> Property {
    Property::new(name, Source::Exchange, kind, read)
}

const fn client(name: &'static str, read: Read) -> Property {
    Property::new(name, Source::Client, Kind::Map, read)
}

const fn surroundings(name: &'static str, kind: Kind, read: Read) -> Property {
    Property::new(name, Source::Surroundings, kind, read)
}

static MESSAGE: &[Property] = &[
    message("content", Text, |context| {
        Ok(Value::Text(String::from_utf8_lossy(the_message(context)?.payload())))
    }),
    message("contentLength", Number, |context| Ok(Value::count(the_message(context)?.payload().len()))),
    message("headers", Kind::Map, |context| Ok(Value::Map(Map::Headers(the_message(context)?.headers())))),
    message("metadata", Kind::Map, |context| Ok(Value::Map(Map::Metadata(the_message(context)?)))),
    message("attributes", Kind::Map, |context| {
        Ok(Value::Map(Map::Attributes(the_message(context)?.attributes())))
    }),
    message("id", Any, |context| Ok(text(the_message(context)?.id()))),
    // A message that failed does not come here.
    message("error", Boolean, |context| the_message(context).map(|_| Value::Boolean(false))),
];

fn the_message<'a>(context: &EvalContext<'a>) -> Result<&'a sluice_message::Message, EvalError> {
    context.message().ok_or(EvalError::NoMessage)
}

static SUBSCRIPTION: &[Property] = &[
    subscription("id", Any, |context| of_subscription(context, |subscription| Some(subscription.id))),
    subscription("type", Any, |context| {
        of_subscription(context, |subscription| Some(subscription.kind.as_str()))
    }),
    subscription("metadata", Kind::Map, |context| {
        Ok(Value::Map(
            context.subscription().map_or(Map::Empty, |subscription| Map::Texts(subscription.metadata)),
        ))
    }),
    subscription("applicationName", Any, |context| {
        of_subscription(context, |subscription| subscription.application_name)
    }),
    subscription("clientId", Any, |context| of_subscription(context, |subscription| subscription.client_id)),
];

fn of_subscription<'a>(
    context: &EvalContext<'a>,
    read: fn(Subscription<'a>) -> Option<&'a str>,
) -> Result<Value<'a>, EvalError> {
    Ok(text(context.subscription().and_then(read)))
}

static REQUEST: &[Property] = &[
    exchange("id", Any, |context| of_request(context, |request| &request.id)),
    exchange("transactionId", Any, |context| of_request(context, |request| &request.transaction_id)),
    exchange("uri", Any, |context| of_request(context, |request| &request.uri)),
    exchange("path", Any, |context| of_request(context, |request| &request.path)),
    exchange("paths", List, |context| segments(context, |request| &request.path)),
    exchange("pathInfo", Any, |context| of_request(context, |request| &request.path_info)),
    exchange("pathInfos", List, |context| segments(context, |request| &request.path_info)),
    exchange("contextPath", Any, |context| of_request(context, |request| &request.context_path)),
    exchange("params", Kind::Map, |context| {
        Ok(Value::Map(context.request().map_or(Map::Empty, |request| Map::Params(&request.params))))
    }),
    // Paths have no parameters yet.
    exchange("pathParams", Kind::Map, |_| Ok(Value::Map(Map::Empty))),
    exchange("headers", Kind::Map, |context| {
        Ok(Value::Map(context.request().map_or(Map::Empty, |request| Map::Headers(&request.headers))))
    }),
    exchange("method", Any, |context| of_request(context, |request| &request.method)),
    exchange("scheme", Any, |context| of_request(context, |request| &request.scheme)),
    exchange("host", Any, |context| of_request(context, |request| &request.host)),
    exchange("version", Any, |context| of_request(context, |request| &request.version)),
    exchange("timestamp", Any, |context| {
        Ok(context.request().map_or(Value::Null, |request| Value::Integer(request.timestamp_ms)))
    }),
    exchange("remoteAddress", Any, |context| of_request(context, |request| &request.remote_address)),
    exchange("localAddress", Any, |context| of_request(context, |request| &request.local_address)),
    exchange("content", Any, |context| {
        Ok(body(context).map_or(Value::Null, |body| Value::Text(String::from_utf8_lossy(body))))
    }),
    exchange("jsonContent", Any, |context| {
        body(context).map_or(Ok(Value::Null), |body| document::json(body))
    })
    .parsing(),
    exchange("xmlContent", Any, |context| body(context).map_or(Ok(Value::Null), |body| document::xml(body)))
        .parsing(),
    // The gateway has no TLS of its own.
    exchange("ssl", Kind::Map, |_| Ok(Value::Map(Map::NoTls))),
];

fn of_request<'a>(
    context: &EvalContext<'a>,
    read: fn(&'a Request) -> &'a str,
) -> Result<Value<'a>, EvalError> {
    Ok(text(context.request().map(read)))
}

/// The parts of a path between slashes. As a path begins with one, the first part is empty.
fn segments<'a>(context: &EvalContext<'a>, read: fn(&'a Request) -> &'a str) -> Result<Value<'a>, EvalError> {
    let path = context.request().map_or("", read).trim_end_matches('/');
    Ok(Value::List(path.split('/').map(Value::borrowed_text).collect()))
}

fn body<'a>(context: &EvalContext<'a>) -> Option<&'a Bytes> {
    context.request().and_then(|request| request.content.as_ref())
}

static RESPONSE: &[Property] = &[
    exchange("status", Any, |context| {
        Ok(context.response().map_or(Value::Null, |response| Value::Integer(response.status.into())))
    }),
    exchange("headers", Kind::Map, |context| {
        Ok(Value::Map(context.response().map_or(Map::Empty, |response| Map::Headers(&response.headers))))
    }),
];

static CONTEXT: &[Property] = &[client("attributes", |context| {
    Ok(Value::Map(context.attributes().map_or(Map::Empty, Map::Attributes)))
})];

static API: &[Property] = &[
    surroundings("id", Any, |context| Ok(text(context.api().map(|api| &*api.id)))),
    surroundings("name", Any, |context| Ok(text(context.api().map(|api| &*api.name)))),
    surroundings("version", Any, |context| Ok(text(context.api().map(|api| &*api.version)))),
    surroundings("properties", Kind::Map, properties),
];

static API_PROPERTIES: Property = surroundings("properties", Kind::Map, properties);

fn properties<'a>(context: &EvalContext<'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Map(context.api().map_or(Map::Empty, |api| Map::Texts(&api.properties))))
}

static DICTIONARIES: Property = surroundings("dictionaries", Kind::Map, |context| {
    of_environment(context, |environment| Map::Dictionaries(&environment.dictionaries))
});

static PARAMETERS: Property =
    client("parameters", |context| Ok(Value::Map(context.parameters().map_or(Map::Empty, Map::Texts))));

static ENDPOINTS: Property = surroundings("endpoints", Kind::Map, |context| {
    of_environment(context, |environment| Map::Texts(&environment.endpoints))
});

fn of_environment<'a>(
    context: &EvalContext<'a>,
    read: fn(&'a Environment) -> Map<'a>,
) -> Result<Value<'a>, EvalError> {
    Ok(Value::Map(context.environment().map_or(Map::Empty, read)))
}

static NODE: &[Property] = &[
    surroundings("id", Any, |context| of_node(context, |node| Some(&node.id))),
    surroundings("version", Any, |context| of_node(context, |node| Some(&node.version))),
    surroundings("tenant", Any, |context| of_node(context, |node| node.tenant.as_deref())),
    surroundings("zone", Any, |context| of_node(context, |node| node.zone.as_deref())),
    surroundings("shardingTags", List, |context| {
        let tags = context.environment().map_or(&[][..], |environment| &environment.node.sharding_tags);
        Ok(Value::List(tags.iter().map(|tag| Value::borrowed_text(tag)).collect()))
    }),
];

fn of_node<'a>(
    context: &EvalContext<'a>,
    read: fn(&'a Node) -> Option<&'a str>,
) -> Result<Value<'a>, EvalError> {
    Ok(text(context.environment().and_then(|environment| read(&environment.node))))
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::borrowed_text)
}
