//! One call of a contract: its address, what serves it, and what its document says about it.

use axum::{
    handler::Handler,
    routing::{self, MethodRouter},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::Registry;

/// Makes the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One call. A path parameter is a `{name}` in its path.
pub(crate) struct Call {
    /// Below the contract's base, without a slash at either end.
    pub(crate) path: String,
    pub(super) method: &'static str,
    pub(super) handler: MethodRouter<Registry>,
    /// Unique within the contract.
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) query: Vec<Query>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// Refusals beside those that its form brings with it.
    pub(super) refusals: Vec<(u16, &'static str)>,
    /// Whether it tells the version that it shows, or has made.
    pub(super) tagged: bool,
    /// Whether it honours `If-Match`.
    pub(super) conditional: bool,
}

/// A query parameter, which may always be left out.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) description: &'static str,
}

pub(super) struct Body {
    pub(super) schema: SchemaOf,
    pub(super) media: &'static [&'static str],
    pub(super) required: bool,
    /// Whether other media types get 415.
    pub(super) strict: bool,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) body: Option<(SchemaOf, &'static str)>,
    /// Whether the body is what a client has sent, without what was left out.
    pub(super) as_written: bool,
}

const JSON: &[&str] = &["application/json"];

macro_rules! methods {
    ($($name:ident $method:literal,)*) => {$(
        #[doc = concat!("A call by ", $method, ".")]
        pub(crate) fn $name<H, T>(
            path: impl Into<String>,
            id: impl Into<String>,
            summary: impl Into<String>,
            handler: H,
        ) -> Call
        where
            H: Handler<T, Registry>,
            T: 'static,
        {
            Call::new($method, path.into(), id.into(), summary.into(), routing::$name(handler))
        }
    )*};
}

methods! {
    get "GET",
    post "POST",
    put "PUT",
    patch "PATCH",
    delete "DELETE",
}

impl Call {
    fn new(
        method: &'static str,
        path: String,
        id: String,
        summary: String,
        handler: MethodRouter<Registry>,
    ) -> Self {
        let (query, answers, refusals) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            path,
            method,
            handler,
            id,
            summary,
            query,
            body: None,
            answers,
            refusals,
            tagged: false,
            conditional: false,
        }
    }

    /// Reads a query parameter.
    pub(crate) fn query<T: JsonSchema>(mut self, name: &'static str, description: &'static str) -> Self {
        self.query.push(Query { name, schema: schema_of::<T>, description });
        self
    }

    /// Reads a JSON body.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { schema: schema_of::<T>, media: JSON, required: true, strict: false });
        self
    }

    /// Reads a JSON body, if there is one.
    pub(crate) fn may_take<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { schema: schema_of::<T>, media: JSON, required: false, strict: false });
        self
    }

    /// Reads a body of one of these media types; any other gets 415.
    pub(crate) fn takes_as<T: JsonSchema>(mut self, media: &'static [&'static str]) -> Self {
        self.body = Some(Body { schema: schema_of::<T>, media, required: true, strict: true });
        self
    }

    /// Reads a body that is best of one of these media types.
    pub(crate) fn reads<T: JsonSchema>(mut self, media: &'static [&'static str]) -> Self {
        self.body = Some(Body { schema: schema_of::<T>, media, required: true, strict: false });
        self
    }

    /// Reads a body that is best of one of these media types, if there is one.
    pub(crate) fn may_read<T: JsonSchema>(mut self, media: &'static [&'static str]) -> Self {
        self.body = Some(Body { schema: schema_of::<T>, media, required: false, strict: false });
        self
    }

    /// Answers with a JSON body.
    pub(crate) fn gives<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        let body = Some((schema_of::<T> as SchemaOf, JSON[0]));
        self.answers.push(Answer { status, description, body, as_written: false });
        self
    }

    /// Answers with a JSON body in the form in which it is sent.
    pub(crate) fn gives_as_written<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        let body = Some((schema_of::<T> as SchemaOf, JSON[0]));
        self.answers.push(Answer { status, description, body, as_written: true });
        self
    }

    /// Answers with text of a media type.
    pub(crate) fn gives_text(mut self, status: u16, media: &'static str, description: &'static str) -> Self {
        let body = Some((schema_of::<String> as SchemaOf, media));
        self.answers.push(Answer { status, description, body, as_written: false });
        self
    }

    /// Answers without a body.
    pub(crate) fn gives_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, body: None, as_written: false });
        self
    }

    /// Refuses with this status for a reason of its own.
    pub(crate) fn refuses(mut self, status: u16, description: &'static str) -> Self {
        self.refusals.push((status, description));
        self
    }

    /// Tells the version that it shows, or has made.
    pub(crate) fn tagged(self) -> Self {
        Self { tagged: true, ..self }
    }

    /// Honours `If-Match`.
    pub(crate) fn conditional(self) -> Self {
        Self { conditional: true, ..self }
    }

    /// The names in its path, in their order.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &str> {
        let segments = self.path.split('/');
        segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// The schema of a type, where it is referred to.
pub(crate) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
