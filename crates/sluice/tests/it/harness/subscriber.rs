//! A subscriber of a WebSub hub: confirms what it is asked as it was told to, takes what it is brought, and keeps both.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{Gateway, until, within};

/// One that listens. It is gone when dropped, its address with it.
pub(crate) struct Subscriber {
    address: SocketAddr,
    told: Arc<Told>,
    questions: mpsc::UnboundedReceiver<Question>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    server: JoinHandle<()>,
}

/// A GET: what a hub wants to know, or has to say.
#[derive(Debug)]
pub(crate) struct Question {
    /// The path with the query, as it came.
    pub(crate) target: String,
    pub(crate) query: HashMap<String, String>,
}

/// A POST.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// How it answers a question.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With the challenge, as one that means it.
    Confirm,
    /// With this status, headers and body.
    Other(StatusCode, Vec<(&'static str, String)>, Vec<u8>),
    /// Not at all, for as long as nobody says otherwise.
    Never,
}

struct Told {
    answer: watch::Sender<Answer>,
    /// With which status it answers deliveries to a path; not at all where there is none.
    statuses: watch::Sender<HashMap<String, Option<u16>>>,
    status: watch::Sender<Option<u16>>,
    questions: mpsc::UnboundedSender<Question>,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

impl Subscriber {
    pub(crate) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// One that comes back to this address.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let socket = TcpListener::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let ((asked, questions), (brought, deliveries)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let told = Arc::new(Told {
            answer: watch::Sender::new(Answer::Confirm),
            statuses: watch::Sender::default(),
            status: watch::Sender::new(Some(200)),
            questions: asked,
            deliveries: brought,
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&told));
        let server = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { address, told, questions, deliveries, server }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A callback of it.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// How questions are answered from now on, those that wait for an answer among them.
    pub(crate) fn answer(&self, answer: Answer) {
        self.told.answer.send_replace(answer);
    }

    /// How deliveries are answered from now on, those that wait among them; not at all with `None`.
    pub(crate) fn take(&self, status: Option<u16>) {
        self.told.status.send_replace(status);
    }

    /// The same for the deliveries to one path.
    pub(crate) fn take_at(&self, target: &str, status: Option<u16>) {
        self.told.statuses.send_modify(|statuses| {
            statuses.insert(target.to_owned(), status);
        });
    }

    /// What it is asked next.
    pub(crate) async fn question(&mut self) -> Question {
        within("a question of the hub", self.questions.recv()).await.unwrap()
    }

    /// What it is brought next.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        within("a delivery", self.deliveries.recv()).await.unwrap()
    }

    /// The contents of what it is brought next.
    pub(crate) async fn contents(&mut self, count: usize) -> Vec<String> {
        let mut contents = Vec::with_capacity(count);
        while contents.len() < count {
            contents.push(self.delivery().await.text());
        }
        contents
    }

    /// What it was brought and nobody has looked at.
    pub(crate) fn unread(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.deliveries.try_recv().ok()).map(Delivery::text).collect()
    }

    /// Whether nothing has come, neither question nor delivery, that was not looked at.
    pub(crate) fn has_heard_nothing(&mut self) -> bool {
        self.questions.try_recv().is_err() && self.deliveries.try_recv().is_err()
    }

    /// Subscribes to a channel and confirms it; `more` are further parameters. Resolves when the subscription is there.
    pub(crate) async fn subscribe(
        &mut self,
        gateway: &Gateway,
        base: &str,
        topic: &str,
        more: &[(&str, &str)],
    ) {
        let callback = self.url("/");
        let settled = gateway.metric("sluice_websub_verified_requests_total").await + 1.0;
        let mut form = vec![("hub.mode", "subscribe"), ("hub.topic", topic), ("hub.callback", &callback)];
        form.extend(more);
        gateway.ask_hub(base, &form).await;
        self.question().await;
        gateway.has_verified(settled).await;
    }

    /// The same to be called no more.
    pub(crate) async fn unsubscribe(&mut self, gateway: &Gateway, base: &str, topic: &str) {
        let callback = self.url("/");
        let settled = gateway.metric("sluice_websub_verified_requests_total").await + 1.0;
        let form = [("hub.mode", "unsubscribe"), ("hub.topic", topic), ("hub.callback", &callback)];
        gateway.ask_hub(base, &form).await;
        self.question().await;
        gateway.has_verified(settled).await;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Delivery {
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.body).unwrap()
    }

    /// A header that is there exactly once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{name} is there twice: {:?}", self.headers);
        Some(value)
    }
}

impl Question {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

impl Gateway {
    /// A request to the hub of the API at `base`, which must take it.
    pub(crate) async fn ask_hub(&self, base: &str, form: &[(&str, &str)]) {
        let answer = self.hub(base, form).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!((status, &*text), (StatusCode::ACCEPTED, ""), "{form:?}");
    }

    /// The answer to a request to the hub of the API at `base`.
    pub(crate) async fn hub(&self, base: &str, form: &[(&str, &str)]) -> reqwest::Response {
        let request = self.client().post(self.url(&format!("{base}/hub"))).form(form);
        within("the answer of the hub", request.send()).await.unwrap()
    }

    /// Waits until so many requests to hubs of this process were verified and settled.
    pub(crate) async fn has_verified(&self, count: f64) {
        until("requests to the hub to be verified", || async {
            self.metric("sluice_websub_verified_requests_total").await >= count
                && self.metric("sluice_websub_unsettled_requests").await == 0.0
        })
        .await;
    }

    /// Waits until so many requests to hubs of this process were given up.
    pub(crate) async fn has_given_up(&self, count: f64) {
        until("requests to the hub to be given up", || async {
            self.metric("sluice_websub_unverified_requests_total").await >= count
                && self.metric("sluice_websub_unsettled_requests").await == 0.0
        })
        .await;
    }
}

async fn serve(State(told): State<Arc<Told>>, request: Request) -> Response {
    let target = request.uri().path_and_query().unwrap().as_str().to_owned();
    let (head, body) = request.into_parts();
    if head.method == Method::GET {
        let url = Url::parse(&format!("http://subscriber{target}")).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let challenge = query.get("hub.challenge").cloned();
        // Gone when the test is at its end.
        let _read = told.questions.send(Question { target, query });
        return confirm(&told, challenge).await;
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().into();
    let path = head.uri.path().to_owned();
    let _read = told.deliveries.send(Delivery { target, headers: head.headers, body });
    let mut status = told.status.subscribe();
    let mut statuses = told.statuses.subscribe();
    loop {
        let own = statuses.borrow_and_update().get(&path).copied();
        if let Some(status) = own.unwrap_or(*status.borrow_and_update()) {
            return Response::builder().status(status).body(Body::empty()).unwrap();
        }
        tokio::select! {
            changed = status.changed() => changed.unwrap(),
            changed = statuses.changed() => changed.unwrap(),
        }
    }
}

async fn confirm(told: &Told, challenge: Option<String>) -> Response {
    let mut answer = told.answer.subscribe();
    loop {
        let current = answer.borrow_and_update().clone();
        match current {
            Answer::Confirm => return Response::new(challenge.unwrap_or_default().into()),
            Answer::Other(status, headers, body) => {
                let response = Response::builder().status(status);
                let response = headers.into_iter().fold(response, |it, (name, value)| it.header(name, value));
                return response.body(body.into()).unwrap();
            }
            Answer::Never => {}
        }
        answer.changed().await.unwrap();
    }
}
