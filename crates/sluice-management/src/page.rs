//! Lists in pages: `?page=1&perPage=10`, and an answer that says where in the whole it stands.

use axum::http::{HeaderMap, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use sluice_api::Problem;

use crate::request::{absolute, parameter};

/// The largest page that is answered.
const MAX_PER_PAGE: usize = 10_000;

const DEFAULT_PER_PAGE: usize = 10;

/// The number of a page, from 1.
#[derive(JsonSchema)]
#[schemars(inline, extend("default" = 1))]
#[expect(dead_code, reason = "stands for its schema")]
pub(crate) struct PageNumber(#[schemars(range(min = 1))] u32);

/// How many items a page has.
pub(crate) type PerPage = Number<DEFAULT_PER_PAGE, MAX_PER_PAGE>;

/// A number of items, from 1.
#[derive(JsonSchema)]
#[schemars(inline, extend("default" = DEFAULT))]
#[expect(dead_code, reason = "stands for its schema")]
pub(crate) struct Number<const DEFAULT: usize, const MAX: usize>(#[schemars(range(min = 1, max = MAX))] u32);

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    page: usize,
    per_page: usize,
}

impl Asked {
    /// Reads it from an address.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let page = number(uri, "page", 1, u32::MAX as usize)?;
        Ok(Self { page, per_page: number(uri, "perPage", DEFAULT_PER_PAGE, MAX_PER_PAGE)? })
    }
}

/// A query parameter that is a number from 1.
pub(crate) fn number(uri: &Uri, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
    let Some(text) = parameter(uri, name) else { return Ok(default) };
    let number = text.trim().parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| {
        let message = format!("'{text}' is no number from 1 to {max}.");
        Problem::new(name, "document.field", message)
    })
}

/// A part of a list as it is answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(crate) struct Page<T> {
    /// The items of this page.
    data: Vec<T>,
    /// Where it stands in the whole.
    pagination: Pagination,
    /// The addresses of this page and of others.
    links: Links,
}

#[derive(Debug, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    /// The number of this page, from 1.
    page: usize,
    /// How many items a full page has.
    per_page: usize,
    /// How many pages there are.
    page_count: usize,
    /// How many items this page has.
    page_items_count: usize,
    /// How many items there are.
    total_count: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Page<T> {
    /// The page of `items` that is asked for; `uri` is the address by which it was.
    pub(crate) fn of<S>(
        asked: Asked,
        items: &[S],
        uri: &Uri,
        headers: &HeaderMap,
        show: impl FnMut(&S) -> T,
    ) -> Self {
        let Asked { page, per_page } = asked;
        let page_count = items.len().div_ceil(per_page);
        let from = (page - 1).saturating_mul(per_page).min(items.len());
        let data: Vec<_> = items[from..items.len().min(from + per_page)].iter().map(show).collect();
        let page_items_count = data.len();
        let at = |number: usize| (1..=page_count).contains(&number).then(|| address(uri, headers, number));
        let links = Links {
            this: address(uri, headers, page),
            first: at(1),
            last: at(page_count),
            previous: at(page - 1),
            next: at(page + 1),
        };
        let total_count = items.len();
        let pagination = Pagination { page, per_page, page_count, page_items_count, total_count };
        Self { data, pagination, links }
    }
}

impl<T> Page<T> {
    /// The items on it.
    pub(crate) fn items(&self) -> &[T] {
        &self.data
    }

    /// The same page with these in place of its items.
    pub(crate) fn with<S>(self, data: Vec<S>) -> Page<S> {
        Page { data, pagination: self.pagination, links: self.links }
    }
}

/// The same address with another page.
fn address(uri: &Uri, headers: &HeaderMap, page: usize) -> String {
    let query = uri.query().unwrap_or_default();
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("page="));
    let pairs: Vec<_> = others.map(str::to_owned).chain([format!("page={page}")]).collect();
    absolute(headers, &format!("{}?{}", uri.path(), pairs.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, count: usize) -> Page<usize> {
        let uri: Uri = format!("/apis?{query}").parse().unwrap();
        let items: Vec<_> = (0..count).collect();
        Page::of(Asked::of(&uri).unwrap(), &items, &uri, &HeaderMap::new(), |item| *item)
    }

    #[test]
    fn a_list_is_cut_into_pages() {
        let second = page("page=2&perPage=3", 7);
        assert_eq!(second.data, [3, 4, 5]);
        let links = second.links;
        assert_eq!(links.this, "/apis?perPage=3&page=2");
        assert_eq!(links.previous.as_deref(), Some("/apis?perPage=3&page=1"));
        assert_eq!(links.next.as_deref(), Some("/apis?perPage=3&page=3"));
        assert_eq!(links.last.as_deref(), Some("/apis?perPage=3&page=3"));
        let last = page("page=3&perPage=3", 7);
        assert_eq!((last.data, last.links.next), (vec![6], None));
    }

    #[test]
    fn a_page_beyond_the_last_is_empty() {
        let beyond = page("page=4294967295&perPage=10000", 7);
        assert_eq!((beyond.data.len(), beyond.pagination.total_count, beyond.links.previous), (0, 7, None));
        let none = page("", 0);
        let pagination =
            Pagination { page: 1, per_page: 10, page_count: 0, page_items_count: 0, total_count: 0 };
        assert_eq!((none.pagination, none.links.first), (pagination, None));
    }

    #[test]
    fn a_page_that_can_not_be_is_refused() {
        for query in ["page=0", "page=-1", "page=x", "perPage=0", "perPage=10001", "page=99999999999"] {
            let uri: Uri = format!("/apis?{query}").parse().unwrap();
            assert!(Asked::of(&uri).is_err(), "{query}");
        }
    }
}
