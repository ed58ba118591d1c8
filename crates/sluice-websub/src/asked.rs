//! One request to the hub, as a whole, before anybody has judged it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use sluice_api::EventApi;
use sluice_receiver::{Binding, Held, Refusal, read_body};

use crate::{
    Addresses, Fields,
    form::{invalid, missing},
};

/// The largest form that is read, in bytes; what the hub knows fits many times.
const MAX_FORM: usize = 64 << 10;

/// What somebody asks the hub to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedMode {
    /// To call them with what is published from now on.
    Subscribe,
    /// Not to call them any more.
    Unsubscribe,
    /// To tell the subscribers what is new.
    Publish,
}

impl AskedMode {
    /// Its name in `hub.mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
        }
    }

    fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        match text {
            Some("subscribe") => Ok(Self::Subscribe),
            Some("unsubscribe") => Ok(Self::Unsubscribe),
            Some("publish") => Ok(Self::Publish),
            Some(_) => Err(invalid("hub.mode must be subscribe, unsubscribe or publish.")),
            None => Err(missing("hub.mode")),
        }
    }
}

/// One request to the hub, read: form body and query string.
#[derive(Debug)]
pub struct Asked {
    mode: AskedMode,
    pub(crate) fields: Fields,
    pub(crate) body: Bytes,
    pub(crate) content: Option<Content>,
    /// By which host it came.
    host: Option<String>,
}

/// News that came along with a request to publish.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) content_type: Option<HeaderValue>,
    /// Kept until the broker has it.
    pub(crate) held: Held,
}

impl Asked {
    /// Reads a POST to the hub within the bounds of the API. A body that is no form is the content of what is to be
    /// published; the parameters then stand in the query.
    ///
    /// # Errors
    /// 400 for parameters that cannot be read and for a `hub.mode` that there is not, 415 for a body that is no form
    /// where nothing is to be published, and what reading a body may end with: 400, 408, 413, 503.
    pub async fn read<B>(binding: &Binding, request: Request<B>) -> Result<Self, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let host = head.uri.authority().map(ToString::to_string).or_else(|| {
            let host = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
            host.map(str::to_owned)
        });
        let (body, held) = read_body(binding, body, 0).await?;
        if is_form(&head.headers) {
            let fields = Fields::read(query, form(&body)?)?;
            let mode = AskedMode::parse(fields.mode.as_deref())?;
            return Ok(Self { mode, fields, body, content: None, host });
        }
        let fields = Fields::read(query, "")?;
        let mode = AskedMode::parse(fields.mode.as_deref());
        if body.is_empty() {
            return Ok(Self { mode: mode?, fields, body, content: None, host });
        }
        let mode = mode.ok().filter(|mode| *mode == AskedMode::Publish).ok_or_else(|| {
            let text =
                "Send the parameters as a form, with the content type application/x-www-form-urlencoded.";
            Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "hub.content-type", text)
        })?;
        let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
        Ok(Self { mode, fields, body, content: Some(Content { content_type, held }), host })
    }

    /// What it asks for.
    pub const fn mode(&self) -> AskedMode {
        self.mode
    }

    /// The bytes of its body, which a signature is of.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The channel that it is about: `hub.topic`, and for a request to publish also `hub.url`, is either the name of a
    /// channel or the public URL of its topic.
    ///
    /// # Errors
    /// 400 where neither is there, or both mean different channels; 404 where this API has no such channel.
    pub fn channel<'a>(&self, api: &'a EventApi, addresses: &Addresses) -> Result<&'a str, Refusal> {
        let url = self.fields.url.as_deref().filter(|_| self.mode == AskedMode::Publish);
        let mut channels = self.fields.topic.as_deref().into_iter().chain(url).map(|topic| {
            let by_name = api.channels.get_key_value(topic);
            let found = by_name.or_else(|| {
                let name = addresses.channel_of(topic, self.host.as_deref())?;
                api.channels.get_key_value(&name)
            });
            found.map(|(name, _)| name.as_str()).ok_or_else(|| {
                let text = "This hub has no such topic. Write the name of a channel of this API, or its URL.";
                Refusal::new(StatusCode::NOT_FOUND, "hub.topic.unknown", text)
            })
        });
        let first = channels.next().ok_or_else(|| missing("hub.topic"))??;
        match channels.next().transpose()? {
            Some(other) if other != first => Err(invalid("hub.topic and hub.url mean different channels.")),
            _ => Ok(first),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn form(body: &Bytes) -> Result<&str, Refusal> {
    if body.len() > MAX_FORM {
        let text = format!("A form has at most {MAX_FORM} bytes here.");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request.body.too-large", text));
    }
    std::str::from_utf8(body).map_err(|_| invalid("The form is not UTF-8."))
}
