//! Chains as receivers see them: compiled from a definition, made for a client, run when it comes, on its answer and on
//! messages. The policies' own tests stand in their files, and use what is here.

mod callers;
mod chains;
mod conditions;
mod docs;
mod schemas;
mod templates;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sluice_api::{EventApi, Problem};
use sluice_expression::{Environment, Request};
use sluice_message::Message;

use crate::{
    Caller, Chains, Credentials, Entry, Hook, Outcome, Policy, Rejection,
    site::{Needs, Site},
};

/// An API with these fields beside those that every API has.
pub(crate) fn api(fields: Value) -> EventApi {
    let mut document = json!({
        "name": "Kafka and SSE",
        "paths": [{"path": "/data/kafka"}],
        "receivers": [{"type": "sse"}, {"type": "http-post"}],
        "brokers": [{"name": "default", "type": "log", "configuration": {"topics": ["demo"]}}],
    });
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    document.as_object_mut().unwrap().extend(fields);
    EventApi::from_document(document).unwrap()
}

/// A gateway with one secret and one dictionary.
pub(crate) fn environment() -> Arc<Environment> {
    let texts = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    Arc::new(Environment {
        secrets: texts("pin", "1234"),
        dictionaries: BTreeMap::from([("words".to_owned(), texts("one", "eins"))]),
        ..Environment::default()
    })
}

/// The chains of an API with these fields.
pub(crate) fn compiled(fields: Value) -> Chains {
    with_credentials(fields, &Arc::default())
}

/// The chains of an API with these fields, keys and secrets.
pub(crate) fn with_credentials(fields: Value, credentials: &Arc<Credentials>) -> Chains {
    Chains::compile(&api(fields), &environment(), credentials).unwrap()
}

/// The chains of an API with these flows.
pub(crate) fn chains(flows: Value) -> Chains {
    let mut fields = json!({});
    fields["flows"] = flows;
    compiled(fields)
}

/// What is wrong with an API with these fields: path, code, message.
pub(crate) fn problems(fields: Value) -> Vec<(String, &'static str, String)> {
    let problems = Chains::compile(&api(fields), &environment(), &Arc::default()).unwrap_err();
    problems.into_iter().map(|problem| (problem.path, problem.code, problem.message)).collect()
}

/// A policy made from its settings for one hook.
pub(crate) fn built(entry: &Entry, hook: Hook, settings: Value) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let (environment, credentials, needs) = (environment(), Arc::default(), Needs::default());
    let site = Site {
        environment: &environment,
        credentials: &credentials,
        has_message: hook.has_message(),
        needs: &needs,
    };
    (entry.build)(settings, hook, &site)
}

/// The paths at which settings are refused, and what is said there.
pub(crate) fn refused(entry: &Entry, hook: Hook, settings: Value) -> Vec<(String, String)> {
    let problems = built(entry, hook, settings).unwrap_err();
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

pub(crate) fn step(policy: &str, configuration: Value) -> Value {
    let mut step = json!({"policy": policy});
    step["configuration"] = configuration;
    step
}

pub(crate) fn request(headers: &[(&'static str, &'static str)]) -> Request {
    Request {
        method: "POST".to_owned(),
        context_path: "/data/kafka".to_owned(),
        remote_address: "192.0.2.1".to_owned(),
        headers: headers.iter().copied().collect(),
        ..Request::default()
    }
}

/// A client with these request headers.
pub(crate) fn caller(
    chains: &Chains,
    receiver: &'static str,
    headers: &[(&'static str, &'static str)],
) -> Caller {
    Caller::new(chains, receiver, "/").with_request(Arc::new(request(headers)))
}

/// The client after it came.
pub(crate) async fn connected(chains: &Chains, mut caller: Caller) -> Result<Caller, Rejection> {
    chains.meet(Hook::Connect, &mut caller).await.map(|()| caller)
}

pub(crate) fn message(payload: &'static str) -> Message {
    Message::builder().payload(payload).build()
}

/// What is logged meanwhile, as lines of JSON.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap();
    String::from_utf8(bytes.clone()).unwrap()
}

/// What a message of a client is when it has passed the publish chain; `None` where it does not.
pub(crate) fn run(chains: &Chains, caller: &Caller, payload: &'static str) -> Option<Message> {
    match chains.select(Hook::Publish, caller).run(&caller.context(), message(payload)) {
        Outcome::Pass(message) | Outcome::Delayed(message, _) => Some(message),
        Outcome::Dropped { .. } | Outcome::Rejected(_) => None,
    }
}
