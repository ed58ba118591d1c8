//! One GET after the other, each behind the cursor of the last.

use serde_json::Value;
use tokio::time::timeout;

use super::{Bookmark, End, SILENCE, Way, turned_away, websocket::escaped};

/// One answer.
pub(super) async fn answer(way: &Way, bookmark: &mut Bookmark) -> End {
    let cursor = bookmark.0.as_deref().map(|id| format!("?cursor={}", escaped(id))).unwrap_or_default();
    let url = format!("http://{}/{}{cursor}", way.authority, way.path());
    let request = way.client.get(url).header("Accept", "application/json").timeout(SILENCE);
    let answer = match timeout(SILENCE, request.send()).await {
        Ok(Ok(answer)) if answer.status().is_success() => answer,
        Ok(Ok(answer)) => return turned_away(answer).await,
        Ok(Err(error)) => return End::Over(error.to_string()),
        Err(_) => return End::Over("no answer".to_owned()),
    };
    // What did not come as a whole is asked for again.
    let page: Value = match answer.json().await {
        Ok(page) => page,
        Err(error) => return End::Over(error.to_string()),
    };
    for item in page["items"].as_array().into_iter().flatten() {
        let (content, id) = (item["content"].as_str(), item["id"].as_str());
        let number = |name: &str| item["metadata"][name].as_str()?.parse::<i64>().ok();
        let partition = number("partition").and_then(|partition| i32::try_from(partition).ok());
        let place = partition.zip(number("offset"));
        way.observer.message(content.unwrap_or_default(), id.unwrap_or_default(), place);
    }
    if let Some(next) = page["pagination"]["nextCursor"].as_str() {
        bookmark.0 = Some(next.to_owned());
    }
    if !page["gap"].is_null() {
        way.observer.gap(&page["gap"].to_string());
    }
    let count = page["items"].as_array().map_or(0, Vec::len);
    End::Over(format!("{count} items, error {}", page["error"]))
}
