//! The management API as the suite uses it: to make APIs and subscriptions once, and to deploy anew.

use std::net::SocketAddr;

use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Where the management API of the moment is.
pub(crate) struct Management<'a> {
    pub(crate) client: &'a Client,
    pub(crate) address: SocketAddr,
}

impl Management<'_> {
    /// A call below the environment; its answer, which is null where it is empty.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let base = "management/organizations/DEFAULT/environments/DEFAULT";
        let url = format!("http://{}/{base}/{path}", self.address);
        let mut request = self.client.request(method, url).basic_auth("admin", Some("admin"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error| format!("The management API does not answer {path}: {error}.");
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            return Err(format!("The management API answered {path} by {status}: {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Makes something; its id.
    pub(crate) async fn make(&self, path: &str, body: &Value) -> Result<String, String> {
        let made = self.call(Method::POST, path, Some(body)).await?;
        let id = made["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| format!("The management API made something without an id: {made}"))
    }

    /// Makes a published plan; its id.
    pub(crate) async fn plan(&self, api: &str, security: &str) -> Result<String, String> {
        let plan = json!({
            "name": security, "description": security, "status": "PUBLISHED", "characteristics": [],
            "security": { "type": security },
        });
        self.make(&format!("v4/apis/{api}/plans"), &plan).await
    }
}
