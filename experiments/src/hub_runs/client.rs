//! Requests to the hub for one repository.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use ureq::{
    Agent, Body, RequestBuilder, SendBody,
    config::RedirectAuthHeaders,
    http::Response,
    typestate::{WithBody, WithoutBody},
};

use super::{HubRepository, HubRunError};

const HUB: &str = "https://huggingface.co";
/// Largest answer that is no file: a list of files.
const MOST_ANSWER_BYTES: u64 = 16 << 20;
/// Longest piece of a server's words that is repeated.
const MOST_WORDS: usize = 200;

/// Which hub, and who asks. Has no `Debug`: the token is printed nowhere.
pub(super) struct Settings {
    /// The hub's address without a slash at the end.
    pub endpoint: String,
    /// The user's.
    pub token: Option<String>,
    /// Where the token would be.
    pub token_file: PathBuf,
}

impl Settings {
    /// Those of `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HOME`, as the hub's own tools have
    /// them.
    pub fn from_environment() -> Self {
        let variable = |name: &str| {
            let value = std::env::var(name).ok()?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let cache = hf_hub::Cache::from_env();
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| cache.token_path(), Into::into);
        Self {
            endpoint: variable("HF_ENDPOINT")
                .map_or_else(|| HUB.into(), |url| url.trim_end_matches('/').into()),
            token: variable("HF_TOKEN").or_else(|| read_token(&token_file)),
            token_file,
        }
    }
}

/// The token in a file; a file that is not there or is empty has none.
fn read_token(file: &Path) -> Option<String> {
    let token = std::fs::read_to_string(file).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

/// One repository on one hub.
pub(super) struct Client<'a> {
    agent: Agent,
    settings: &'a Settings,
    pub repository: &'a HubRepository,
    revision: &'a str,
    /// What holds when an exchange fails, and what to do.
    state: &'static str,
}

/// A request's outcome: an answer of any status, or no answer.
type Outcome = Result<Response<Body>, ureq::Error>;

impl<'a> Client<'a> {
    pub fn new(
        settings: &'a Settings,
        repository: &'a HubRepository,
        revision: &'a str,
        state: &'static str,
    ) -> Result<Self, HubRunError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let well_formed = !revision.is_empty()
            && revision.bytes().all(allowed)
            && !revision.contains("..")
            && !revision.starts_with(['-', '/', '.'])
            && !revision.ends_with(['/', '.']);
        if !well_formed {
            return Err(HubRunError::Revision { text: revision.into() });
        }
        let agent = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            // A commit of many files takes a server its time.
            .timeout_recv_response(Some(Duration::from_secs(180)))
            .http_status_as_error(false)
            // Files lie with other servers, which are given signed addresses and no token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("deeplpf/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, settings, repository, revision, state })
    }

    /// The revision as one part of a path.
    pub fn revision_part(&self) -> String {
        self.revision.replace('/', "%2F")
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.endpoint)
    }

    fn authorise<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.settings.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder<WithoutBody> {
        self.authorise(self.agent.get(self.url(path)))
    }

    fn post(&self, path: &str, content_type: &str) -> RequestBuilder<WithBody> {
        self.authorise(self.agent.post(self.url(path))).header("Content-Type", content_type)
    }

    /// The JSON at a path; `None` where there is nothing (404).
    pub fn find<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
    ) -> Result<Option<T>, HubRunError> {
        let response = self.answered(what, self.get(path).call())?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        self.json(what, response).map(Some)
    }

    /// Sends a body to a path and reads the JSON that comes back.
    pub fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<T, HubRunError> {
        let request = self.post(path, content_type).header("Accept", accepted(content_type));
        let response = self.answered(what, request.send(body))?;
        self.json(what, response)
    }

    /// Has something made that may be there already (409).
    pub fn make(
        &self,
        what: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), HubRunError> {
        let request = self.post(path, "application/json");
        let response = self.answered(what, request.send(body.to_string().as_bytes()))?;
        match response.status().as_u16() {
            409 => Ok(()),
            _ => self.accepted(what, response).map(drop),
        }
    }

    /// Sends a file to the address that the hub gave for it, under a progress bar.
    pub fn put(
        &self,
        what: &str,
        url: &str,
        headers: &[(String, String)],
        bytes: &[u8],
    ) -> Result<(), HubRunError> {
        let mut request = self.agent.put(url).header("Content-Length", bytes.len().to_string());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let bar = bytes_bar(bytes.len() as u64);
        let mut reader = bar.wrap_read(bytes);
        let outcome = request.send(SendBody::from_reader(&mut reader));
        bar.finish_and_clear();
        let response = self.answered(what, outcome)?;
        self.accepted(what, response).map(drop)
    }

    /// Asks the address that the hub gave whether a sent file has arrived.
    pub fn verify(
        &self,
        what: &str,
        url: &str,
        headers: &[(String, String)],
        body: &serde_json::Value,
    ) -> Result<(), HubRunError> {
        let mut request = self.agent.post(url).header("Content-Type", LFS_JSON);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if !given && url.starts_with(&format!("{}/", self.settings.endpoint)) {
            request = self.authorise(request);
        }
        let response = self.answered(what, request.send(body.to_string().as_bytes()))?;
        self.accepted(what, response).map(drop)
    }

    /// The bytes of a file, under a progress bar; `most` at most.
    pub fn download(&self, file: &str, path: &str, most: u64) -> Result<Vec<u8>, HubRunError> {
        let what = format!("fetch {}", self.url(path));
        let response = self.answered(&what, self.get(path).call())?;
        let response = self.accepted(&what, response)?;
        let too_large = |bytes: u64| HubRunError::TooLarge { file: file.into(), bytes, most };
        let length = response.body().content_length();
        if let Some(length) = length.filter(|length| *length > most) {
            return Err(too_large(length));
        }
        let bar = bytes_bar(length.unwrap_or(0));
        let mut bytes = Vec::new();
        let read = bar
            .wrap_read(response.into_body().into_reader().take(most + 1))
            .read_to_end(&mut bytes);
        bar.finish_and_clear();
        read.map_err(|error| self.failed(&what, error.to_string()))?;
        if bytes.len() as u64 > most {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }

    fn answered(&self, what: &str, outcome: Outcome) -> Result<Response<Body>, HubRunError> {
        outcome.map_err(|error| self.failed(what, error.to_string()))
    }

    /// The answer, if it is not a refusal.
    fn accepted(
        &self,
        what: &str,
        response: Response<Body>,
    ) -> Result<Response<Body>, HubRunError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let repository = self.repository.clone();
        Err(match status.as_u16() {
            // To those without a token the hub does not say whether there is a repository.
            401 if self.settings.token.is_some() => HubRunError::WrongToken { repository },
            401 | 404 => HubRunError::Absent { repository, revision: self.revision.into() },
            403 => HubRunError::Forbidden { repository, reason: self.words(response) },
            _ => {
                let reason = format!("the server answers {status}{}", self.words(response));
                self.failed(what, reason)
            }
        })
    }

    fn json<T: DeserializeOwned>(
        &self,
        what: &str,
        response: Response<Body>,
    ) -> Result<T, HubRunError> {
        let mut bytes = Vec::new();
        let response = self.accepted(what, response)?;
        let read =
            response.into_body().into_reader().take(MOST_ANSWER_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| self.failed(what, error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.failed(what, format!("the server's answer is none of a hub's ({error})"))
        })
    }

    /// `: ` and what the server says about a refusal, on one line and without the token.
    fn words(&self, response: Response<Body>) -> String {
        let mut text = String::new();
        // A refusal without readable words is one all the same.
        let _ = response.into_body().into_reader().take(4096).read_to_string(&mut text);
        let words = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => json["error"].as_str().unwrap_or_default().to_owned(),
            Err(_) => text,
        };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = match &self.settings.token {
            Some(token) => words.replace(token, "***"),
            None => words,
        };
        let words: String = words.chars().take(MOST_WORDS).collect();
        if words.is_empty() { words } else { format!(": {words}") }
    }

    pub fn failed(&self, what: &str, reason: String) -> HubRunError {
        HubRunError::Exchange { what: what.into(), reason, state: self.state }
    }
}

/// The type of git-lfs's messages.
pub(super) const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// What is read back of a body of that type.
fn accepted(content_type: &str) -> &'static str {
    if content_type == LFS_JSON { LFS_JSON } else { "application/json" }
}

/// Drawn on a terminal only.
fn bytes_bar(length: u64) -> ProgressBar {
    let template = "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
