//! The rules of channels.

use crate::{EventApi, Problem, Side, has_expression};

/// Bounds on what a definition may hold.
const MAX_CHANNELS: usize = 1024;
const MAX_NAME: usize = 255;

/// What stands below the path of an API for something else.
const TAKEN: [&str; 2] = ["hub", "webhook-receiver"];

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    let mut refuse = |path: String, message: String| {
        problems.push(Problem::new(path, "channels.invalid", message));
    };
    if api.channels.len() > MAX_CHANNELS {
        refuse("channels".to_owned(), format!("At most {MAX_CHANNELS} channels are allowed."));
    }
    let broker = api.brokers.first().map(|broker| &broker.configuration);
    for (name, channel) in &api.channels {
        let path = format!("channels.{name}");
        if !is_channel_name(name) {
            let message = format!(
                "A channel has a name of 1 to {MAX_NAME} visible ASCII characters without {{}} ? # % \\ and without \
                 empty segments or segments '.', '..' or that begin with ':'; 'hub' and 'webhook-receiver' are taken."
            );
            refuse(path.clone(), message);
        }
        for (field, side, topic, written) in [
            ("produceTo", Side::Publish, channel.publish_topic(name), &channel.produce_to),
            ("consumeFrom", Side::Deliver, channel.deliver_topic(name), &channel.consume_from),
        ] {
            if let Some(broker) =
                broker.filter(|broker| has_expression(topic) || !broker.is_topic(topic, side))
            {
                let message = match written {
                    Some(_) => format!("'{topic}' is no topic name ({}).", broker.topic_rule()),
                    None => {
                        "The name of this channel is no topic name, so its topic has to be named.".to_owned()
                    }
                };
                refuse(format!("{path}.{field}"), message);
            }
        }
        if let Some(url) = &channel.content_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            refuse(format!("{path}.contentUrl"), "Must be an http or https URL.".to_owned());
        }
    }
    for (index, receiver) in api.receivers.iter().enumerate() {
        let kind = receiver.configuration.kind();
        if api.channels.is_empty() && matches!(kind, "websub" | "webhook-receiver") {
            let message = format!("The receiver '{kind}' serves channels: name them under 'channels'.");
            refuse(format!("receivers[{index}]"), message);
        }
    }
    if api.receivers.iter().filter(|receiver| receiver.configuration.calls_clients()).count() > 1 {
        let message =
            "An API calls its subscribers either by webhook or by websub; make another API for the other.";
        refuse("receivers".to_owned(), message.to_owned());
    }
}

fn is_channel_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'?' | b'#' | b'%' | b'\\');
    let segment =
        |segment: &str| !segment.is_empty() && !matches!(segment, "." | "..") && !segment.starts_with(':');
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(allowed)
        && name.split('/').all(segment)
        && !TAKEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_name_is_a_path_without_anything_that_means_something_else() {
        for name in ["created", "a/b", "v1.0", "x_y-z"] {
            assert!(is_channel_name(name), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", "a/../b", "{a}", ":a", "a b", "hub", "webhook-receiver", "a?b"] {
            assert!(!is_channel_name(name), "{name}");
        }
        assert!(is_channel_name(&"a".repeat(255)) && !is_channel_name(&"a".repeat(256)));
    }
}
