//! A session with a driver, in the words of WebDriver (<https://www.w3.org/TR/webdriver2/>): JSON over HTTP.
//!
//! Half a dozen commands are all that is needed, so they are said here, over the HTTP client that the workspace
//! has. The crates that say them all were tried, and cost more than they spare. With `fantoccini` 0.22.1 this crate
//! was thirteen lines longer, for Chromium's own commands must be said by hand there, too, and it brings 22 crates:
//! its model of the protocol is Mozilla's `webdriver`, with `http` 0.2, another `cookie`, and the segmenter of a
//! second ICU (1.5). `thirtyfour` 0.38 turns `serde_json/preserve_order` on for whatever is built beside it, so that
//! tests would see another order of fields than users do.

use std::time::Duration;

use serde_json::{Value, json};

/// A session; it ends by [`Session::end`] alone.
#[derive(Debug)]
pub(crate) struct Session {
    http: reqwest::Client,
    address: String,
    /// What the browser told of itself.
    pub(crate) capabilities: Value,
}

impl Session {
    /// Begins one at the driver's address. Every command must be answered within `patience`.
    pub(crate) async fn begin(driver: &str, wanted: &Value, patience: Duration) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(patience)
            .build()
            .map_err(|error| error.to_string())?;
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let request = http.post(format!("{driver}session")).json(&body);
        let mut told = answer(request).await?;
        let id = told["sessionId"].as_str().ok_or("the driver names no session")?;
        Ok(Self {
            address: format!("{driver}session/{id}"),
            capabilities: told["capabilities"].take(),
            http,
        })
    }

    /// Sends a command below the session.
    pub(crate) async fn tell(&self, path: &str, body: &Value) -> Result<Value, String> {
        answer(self.http.post(format!("{}/{path}", self.address)).json(body)).await
    }

    /// Asks for something below the session.
    pub(crate) async fn ask(&self, path: &str) -> Result<Value, String> {
        answer(self.http.get(format!("{}/{path}", self.address))).await
    }

    /// Ends the session, and the browser with it.
    pub(crate) async fn end(&self) -> Result<Value, String> {
        answer(self.http.delete(&self.address)).await
    }
}

/// The value of an answer; of an error its name and what it says.
async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let well = response.status().is_success();
    let mut body: Value = response.json().await.map_err(|error| error.to_string())?;
    let value = body["value"].take();
    if well {
        return Ok(value);
    }
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Err(format!("{}: {}", text("error"), text("message")))
}
