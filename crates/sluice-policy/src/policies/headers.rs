//! What the policies that change headers have in common: which headers there are at a hook, and what may be one.

use std::sync::Arc;

use sluice_api::Problem;
use sluice_message::{Headers, Message};

use super::header_name;
use crate::{Caller, Hook};

/// Headers of an answer that say how its bytes are to be read. They follow from what is sent.
const FRAMING: [&str; 5] = ["connection", "content-length", "trailer", "transfer-encoding", "upgrade"];

/// Refuses what can be no name of a header of an answer that a policy changes.
pub(super) fn answer_header_name(path: &str, name: &str) -> Result<(), Problem> {
    header_name(path, name)?;
    if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)) {
        let message = "This header says how the answer's bytes are to be read; it cannot be changed.";
        return Err(Problem::new(path, "document.field", message));
    }
    Ok(())
}

/// Whether a value can stand in HTTP: a line break would begin another header.
pub(super) fn fits_http(value: &str) -> bool {
    !value.chars().any(|character| character.is_ascii_control() && character != '\t')
}

/// Changes the headers of a client's request, where it made one and something reads it.
pub(super) fn change_request(caller: &mut Caller, change: impl FnOnce(&mut Headers)) {
    if let Some(request) = &mut caller.request {
        change(&mut Arc::make_mut(request).headers);
    }
}

/// The message with its headers changed.
pub(super) fn changed(message: &Message, change: impl FnOnce(&mut Headers)) -> Message {
    let mut headers = message.headers().clone();
    change(&mut headers);
    message.to_builder().headers(headers).build()
}

/// A problem where settings for the request stand at a hook that has none any more.
pub(super) fn no_request(hook: Hook) -> Option<Problem> {
    let message =
        "The request is past at 'respond'; write it as 'response', or put the policy at another hook.";
    (hook == Hook::Respond).then(|| Problem::new("request", "document.field", message))
}

/// What speaks against lists of headers for the request, and for the answer, by whether they are there.
pub(super) fn misplaced(hook: Hook, request: bool, response: bool) -> Vec<Problem> {
    if !request && !response {
        let message = "Headers are needed here, or at 'response'.";
        return vec![Problem::new("request", "document.field", message)];
    }
    no_request(hook).filter(|_| request).into_iter().collect()
}
