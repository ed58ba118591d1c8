//! The rules of what an API says about its answers: CORS and templates for errors.

use super::receivers::{is_origin, is_token};
use crate::{Cors, EventApi, Problem};

const MAX_NAMES: usize = 64;
const MAX_TEMPLATES: usize = 64;
const MAX_BODY_BYTES: usize = 64 << 10;

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    if let Some(cors) = &api.cors {
        check_cors(cors, problems);
    }
    if api.response_templates.len() > MAX_TEMPLATES {
        let message = format!("At most {MAX_TEMPLATES} keys have templates.");
        problems.push(Problem::new("responseTemplates", "responseTemplates.invalid", message));
    }
    for (key, by_type) in &api.response_templates {
        for (content_type, template) in by_type {
            let mut refuse = |field: &str, message: String| {
                let path = format!("responseTemplates.{key}.{content_type}.{field}");
                problems.push(Problem::new(path, "responseTemplates.invalid", message));
            };
            if !(400..=599).contains(&template.status) {
                refuse("status", format!("{} is no status of an error, from 400 to 599.", template.status));
            }
            for (name, value) in &template.headers {
                if !is_token(name)
                    || !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
                {
                    refuse("headers", format!("The header {name:?} cannot be sent like this."));
                }
            }
            if template.headers.len() > MAX_NAMES {
                refuse("headers", format!("At most {MAX_NAMES} headers are allowed."));
            }
            if template.body.len() > MAX_BODY_BYTES {
                refuse("body", format!("At most {MAX_BODY_BYTES} bytes are allowed."));
            }
        }
    }
}

fn check_cors(cors: &Cors, problems: &mut Vec<Problem>) {
    let mut refuse =
        |path: String, message: String| problems.push(Problem::new(path, "cors.invalid", message));
    for (index, origin) in cors.allow_origin.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
        let message = format!("'{origin}' is no origin; write it as https://app.example, or *.");
        refuse(format!("cors.allowOrigin[{index}]"), message);
    }
    if cors.allow_credentials && cors.allow_origin.iter().any(|origin| origin == "*") {
        let message = "Credentials from every page would be credentials for any page; name the origins.";
        refuse("cors.allowCredentials".to_owned(), message.to_owned());
    }
    let lists = [
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ];
    for (field, names) in lists {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
            refuse(format!("cors.{field}[{index}]"), format!("'{name}' is no name of a header or method."));
        }
    }
    let counts = lists.map(|(_, names)| names.len());
    if counts.into_iter().chain([cors.allow_origin.len()]).any(|count| count > MAX_NAMES) {
        refuse("cors".to_owned(), format!("At most {MAX_NAMES} entries are allowed in each list."));
    }
}
