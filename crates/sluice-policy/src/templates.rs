//! Response templates: what an API says to its clients in place of the gateway's own words for an error.

use std::collections::BTreeMap;

use sluice_api::{Problem, ResponseTemplate};
use sluice_expression::{EvalContext, EvalError, Expression};
use sluice_message::Headers;

use crate::{
    Rendered,
    site::{Site, all},
};

/// The key of the templates for errors that have none of their own.
const ANY_KEY: &str = "DEFAULT";
/// The content type of a template for clients that take none of the others.
const ANY_TYPE: &str = "*/*";
/// What a body is that nobody says more about.
const PLAIN: &str = "text/plain; charset=utf-8";

/// The templates of one API, by the key of the error.
#[derive(Debug, Default)]
pub(crate) struct Templates(BTreeMap<String, Vec<Template>>);

#[derive(Debug)]
struct Template {
    /// In lower case, without parameters.
    content_type: String,
    status: u16,
    headers: Vec<(String, Expression)>,
    body: Expression,
}

impl Templates {
    /// Compiles the templates of a definition.
    pub(crate) fn compile(
        written: &BTreeMap<String, BTreeMap<String, ResponseTemplate>>,
        site: &Site<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut templates, mut problems) = (BTreeMap::new(), Vec::new());
        for (key, types) in written {
            let mut compiled = Vec::new();
            for (content_type, template) in types {
                match Template::compile(content_type, template, site) {
                    Ok(template) => compiled.push(template),
                    Err(found) => {
                        let path = format!("responseTemplates.{key}.{content_type}");
                        problems.extend(found.into_iter().map(|problem| problem.within(&path)));
                    }
                }
            }
            templates.insert(key.clone(), compiled);
        }
        if problems.is_empty() { Ok(Self(templates)) } else { Err(problems) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer for an error; `None` where no template is for it, or the one that is has no value.
    pub(crate) fn render(
        &self,
        key: &str,
        accept: Option<&str>,
        parameters: &BTreeMap<String, String>,
        context: &EvalContext<'_>,
    ) -> Option<Rendered> {
        let types = self.0.get(key).or_else(|| self.0.get(ANY_KEY))?;
        let template = choose(types, accept.unwrap_or(ANY_TYPE))?;
        template.render(&context.with_parameters(parameters)).ok()
    }
}

impl Template {
    fn compile(
        content_type: &str,
        written: &ResponseTemplate,
        site: &Site<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let headers = written.headers.iter().map(|(name, value)| {
            let value = site.text(&format!("headers.{name}"), value)?;
            Ok((name.clone(), value))
        });
        let headers = all(headers).map_err(|found| problems.extend(found)).unwrap_or_default();
        match site.text("body", &written.body) {
            Ok(body) if problems.is_empty() => {
                let content_type = media_type(content_type);
                Ok(Self { content_type, status: written.status, headers, body })
            }
            body => {
                problems.extend(body.err());
                Err(problems)
            }
        }
    }

    fn render(&self, context: &EvalContext<'_>) -> Result<Rendered, EvalError> {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.set(&**name, value.text(context)?.unwrap_or_default().into_owned());
        }
        let written = headers.get("content-type").map(|value| String::from_utf8_lossy(value).into_owned());
        let known = if self.is_for_all() { PLAIN } else { &*self.content_type };
        headers.remove("content-type");
        Ok(Rendered {
            status: self.status,
            content_type: written.unwrap_or_else(|| known.to_owned()),
            headers,
            body: self.body.text(context)?.unwrap_or_default().into_owned(),
        })
    }

    fn is_for_all(&self) -> bool {
        matches!(&*self.content_type, ANY_TYPE | "default")
    }
}

/// The template that a client likes best: the exact type before the one for all.
fn choose<'t>(templates: &'t [Template], accept: &str) -> Option<&'t Template> {
    let mut ranges: Vec<_> = accept.split(',').map(|range| (quality(range), media_type(range))).collect();
    ranges.retain(|(quality, _)| *quality > 0.0);
    // Stable: of ranges that are liked alike the first one counts.
    ranges.sort_by(|one, two| two.0.total_cmp(&one.0));
    let for_all = || templates.iter().find(|template| template.is_for_all());
    let wanted = ranges.iter().find_map(|(_, range)| {
        let exact = templates.iter().find(|template| template.content_type == *range);
        exact.or_else(|| match range.strip_suffix('*') {
            Some("*/") => for_all().or_else(|| templates.first()),
            Some(kind) => templates.iter().find(|template| template.content_type.starts_with(kind)),
            None => None,
        })
    });
    wanted.or_else(for_all)
}

/// A media type or range without its parameters.
fn media_type(written: &str) -> String {
    written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How much a range is liked, from 0 to 1.
fn quality(range: &str) -> f32 {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let quality = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    quality.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(1.0)
}
