//! Conditions of policies (`executionCondition`): whatever is written is refused or understood, and whatever is
//! understood has an answer for whatever content. The first line of the input is the condition, the rest the payload.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use sluice_api::EventApi;
use sluice_message::Message;
use sluice_policy::{Caller, Chains, Hook};

fuzz_target!(|input: &str| {
    let (condition, payload) = input.split_once('\n').unwrap_or((input, ""));
    let step = json!({"policy": "latency", "executionCondition": condition});
    let document = json!({
        "name": "Fuzzed",
        "paths": [{"path": "/fuzzed"}],
        "receivers": [{"type": "http-post"}],
        "brokers": [{"name": "default", "type": "log", "configuration": {"topics": ["fuzzed"]}}],
        "flows": [{"publish": [step]}],
    });
    let Ok(api) = EventApi::from_document(document) else { return };
    let Ok(chains) = Chains::compile(&api, &Arc::default(), &Arc::default()) else { return };
    let caller = Caller::new(&chains, "http-post", "/a/b");
    let message = Message::builder().payload(payload.to_owned()).key("key").build();
    chains.select(Hook::Publish, &caller).run(&caller.context(), message);
});
