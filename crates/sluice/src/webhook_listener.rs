//! `sluice webhook-listener`: a receiver of webhooks to try deliveries with, in place of a public one.
//!
//! It prints what comes, answers as it was told, and checks signatures. It stands at the far end of a message's
//! way, outside the gateway, and knows nothing of it: whoever can send HTTP can send to it.

mod record;
mod verify;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use sluice_gateway::{ListenOptions, Listeners};
use sluice_receiver::parameters;
use tokio::sync::mpsc;

use self::{
    record::Record,
    verify::{HmacSecret, StandardSecret, Verifier},
};
use crate::server::Signals;

/// Connections at once; each may hold one body.
const MAX_CONNECTIONS: usize = 64;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers that are being delayed may hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Nobody means a longer delay.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

const EXAMPLES: &str = "\
The first line printed names the address really bound. GET, HEAD and OPTIONS are printed and answered 200, and a \
hub that asks by GET whether a subscription is meant is told so; everything else is a delivery and is answered as \
told. Ctrl-C prints a summary and ends.

Examples:
  sluice webhook-listener
  sluice webhook-listener --status 503,503,200         two failures first, to see retries
  sluice webhook-listener --status 429 --header 'Retry-After: 3'
  sluice webhook-listener --json | jq -r '.body // empty'   only the messages";

/// The flags, each with its variable.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "SLUICE_LISTENER_LISTEN", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,

    /// Status to answer deliveries with. Of several, separated by commas, each answers one delivery and the
    /// last one all that follow.
    #[arg(long, value_name = "CODE", env = "SLUICE_LISTENER_STATUS", value_delimiter = ',')]
    #[arg(default_value = "200", value_parser = parse_status)]
    status: Vec<StatusCode>,

    /// Header of every answer to a delivery, as 'Name: value'; repeatable.
    #[arg(long, value_name = "HEADER", env = "SLUICE_LISTENER_HEADER", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,

    /// Time before each delivery is answered, for example 500ms or 2s; at most 10m. It is printed at once.
    #[arg(long, value_name = "TIME", env = "SLUICE_LISTENER_DELAY", default_value = "0s")]
    #[arg(value_parser = parse_delay)]
    delay: Duration,

    /// Check deliveries by Standard Webhooks: the headers webhook-id, webhook-timestamp (within 5 minutes of
    /// now) and webhook-signature. SECRET is base64, with or without whsec_ before it. What fails is answered
    /// 401 and says why. Others on the machine can read flags, but not the variable.
    #[arg(long, value_name = "SECRET", env = "SLUICE_LISTENER_VERIFY", hide_env_values = true)]
    verify: Option<StandardSecret>,

    /// Check deliveries by the header X-HMAC-Signature: base64 of the HMAC-SHA256 of the body under SECRET,
    /// which is taken as it stands. What fails is answered 401 and says why.
    #[arg(long, value_name = "SECRET", env = "SLUICE_LISTENER_VERIFY_HMAC", hide_env_values = true)]
    #[arg(conflicts_with = "verify")]
    verify_hmac: Option<HmacSecret>,

    /// Check deliveries of a WebSub hub by the header X-Hub-Signature, with SECRET as the hub.secret. What fails is
    /// answered 401 and says why.
    #[arg(long, value_name = "SECRET", env = "SLUICE_LISTENER_VERIFY_HUB", hide_env_values = true)]
    #[arg(conflicts_with_all = ["verify", "verify_hmac"])]
    verify_hub: Option<HmacSecret>,

    /// Do not confirm to a WebSub hub what it was asked: its question is answered 404.
    #[arg(long, env = "SLUICE_LISTENER_REFUSE_HUB")]
    refuse_hub: bool,

    /// Print one JSON object a line, for machines.
    #[arg(long, env = "SLUICE_LISTENER_JSON")]
    json: bool,

    /// File to which each request is appended as one JSON object a line, whatever is printed.
    #[arg(long, value_name = "FILE", env = "SLUICE_LISTENER_OUTPUT")]
    output: Option<PathBuf>,

    /// Bytes of a body at the most; a larger one is answered 413 and not printed.
    #[arg(long, value_name = "BYTES", env = "SLUICE_LISTENER_MAX_BODY", default_value_t = 10 << 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    max_body: u64,
}

/// Listens until SIGINT, SIGTERM or SIGHUP, then prints a summary. An error says why it could not go on.
pub(crate) async fn run(options: Options) -> Result<(), String> {
    let mut stop = Signals::new()?;
    let (socket, address) = Listeners::bind(options.listen).await.map_err(|error| {
        format!("--listen {}: {error}. Choose another address, or stop what listens there.", options.listen)
    })?;
    let (faults, mut fault) = mpsc::channel(1);
    let listener = Arc::new(Listener::new(options, faults)?);
    let printed = |error| format!("Standard output cannot be written: {error}.");
    listener.announce(address).map_err(printed)?;

    let connections =
        Listeners::new(ListenOptions { max_connections: MAX_CONNECTIONS, ..Default::default() });
    let answering = Arc::clone(&listener);
    connections.serve(socket, move |request, _| {
        let listener = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(listener.answer(request).await) }
    });
    tokio::select! {
        _ = stop.next() => {}
        Some(fault) = fault.recv() => return Err(fault),
    }
    // What is cut off here was told to wait longer than anybody wants to at the end.
    let _all_closed = connections.shut_down(LAST_ANSWERS).await;
    listener.sum_up().map_err(printed)
}

/// What all requests share.
struct Listener {
    options: Options,
    verifier: Option<Verifier>,
    log: Mutex<Log>,
    /// Takes the first fault that makes going on pointless.
    faults: mpsc::Sender<String>,
}

/// What was received so far, and where it is written.
struct Log {
    received: u64,
    deliveries: usize,
    answers: BTreeMap<u16, u64>,
    output: Option<File>,
}

impl Listener {
    fn new(mut options: Options, faults: mpsc::Sender<String>) -> Result<Self, String> {
        let open = |path: &PathBuf| {
            let file = File::options().create(true).append(true).open(path);
            file.map_err(|error| format!("--output {}: {error}.", path.display()))
        };
        let output = options.output.as_ref().map(open).transpose()?;
        let standard = options.verify.take().map(Verifier::Standard);
        let verifier = standard
            .or_else(|| options.verify_hmac.take().map(Verifier::Hmac))
            .or_else(|| options.verify_hub.take().map(Verifier::Hub));
        let log = Mutex::new(Log { received: 0, deliveries: 0, answers: BTreeMap::new(), output });
        Ok(Self { options, verifier, log, faults })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        // `--max-body` is at most a gibibyte.
        let limit = usize::try_from(self.options.max_body).unwrap_or(usize::MAX);
        let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        };
        let is_delivery = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
        let status = match self.receive(&head, &body, is_delivery) {
            Ok(status) => status,
            Err(fault) => {
                // A second fault says nothing new.
                let _told = self.faults.try_send(fault);
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let confirmed = challenge(&head).filter(|_| status.is_success()).unwrap_or_default();
        let mut response = Response::new(Full::new(confirmed.into()));
        *response.status_mut() = status;
        if is_delivery {
            response.headers_mut().extend(self.options.header.iter().cloned());
            tokio::time::sleep(self.options.delay).await;
        }
        response
    }

    /// Decides the status, prints the request and counts it, all in one step, so that numbers, statuses and
    /// lines have one order.
    fn receive(
        &self,
        head: &Parts,
        body: &Result<Bytes, StatusCode>,
        is_delivery: bool,
    ) -> Result<StatusCode, String> {
        let signature = match (&self.verifier, body) {
            (Some(verifier), Ok(body)) if is_delivery => Some(verifier.check(&head.headers, body)),
            _ => None,
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match (body, &signature) {
            (Err(refused), _) => *refused,
            (_, Some(Err(_))) => StatusCode::UNAUTHORIZED,
            _ if is_delivery => {
                let last = self.options.status.len() - 1;
                log.deliveries += 1;
                self.options.status[last.min(log.deliveries - 1)]
            }
            _ if self.options.refuse_hub && challenge(head).is_some() => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        log.received += 1;
        *log.answers.entry(status.as_u16()).or_default() += 1;

        let record = Record::new(log.received, head, body.as_deref().ok(), signature, status);
        let printed = if self.options.json { record.to_json() } else { record.to_text() };
        print(&printed).map_err(|error| format!("Standard output cannot be written: {error}."))?;
        if let (Some(output), Some(path)) = (&mut log.output, &self.options.output) {
            let written = output.write_all(record.to_json().as_bytes());
            written.map_err(|error| format!("--output {}: {error}.", path.display()))?;
        }
        Ok(status)
    }

    fn announce(&self, address: SocketAddr) -> io::Result<()> {
        let url = format!("http://{address}/");
        if self.options.json {
            print(&format!("{}\n", serde_json::json!({ "listening": url })))
        } else {
            print(&format!("Listening on {url}\n"))
        }
    }

    fn sum_up(&self) -> io::Result<()> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.options.json {
            let summary = serde_json::json!({ "requests": log.received, "answers": log.answers });
            return print(&format!("{summary}\n"));
        }
        let answers: Vec<String> =
            log.answers.iter().map(|(status, times)| format!("{status}: {times}")).collect();
        let answers = if answers.is_empty() { "none".to_owned() } else { answers.join(", ") };
        print(&format!("\nRequests: {}. Answers: {answers}.\n", log.received))
    }
}

/// What a hub wants to see again where a subscription is meant (WebSub section 5.3).
fn challenge(head: &Parts) -> Option<String> {
    let query = head.uri.query().filter(|_| head.method == Method::GET)?;
    let asks = |name: &str, value: &str| name == "hub.mode" && matches!(value, "subscribe" | "unsubscribe");
    let asked = parameters(query).any(|(name, value)| asks(&name, &value));
    parameters(query).find(|(name, _)| asked && name == "hub.challenge").map(|(_, value)| value)
}

/// Writes at once, and without the panic of `println!` when nobody reads any more.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().filter(|status: &StatusCode| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| "a status is a number from 200 to 599".to_owned())
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'Name: value'")?;
    let name = name.trim().parse().map_err(|_| format!("'{name}' is no header name"))?;
    let value = value.trim().parse().map_err(|_| format!("'{value}' is no header value"))?;
    if [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&name) {
        return Err(format!("'{name}' follows from the body, which is empty"));
    }
    Ok((name, value))
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("a time is a whole number and ms, s or m, for example 500ms".to_owned()),
    };
    let delay = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    let delay = delay.map(Duration::from_millis).filter(|delay| *delay <= LONGEST_DELAY);
    delay.ok_or_else(|| "a time is at most 10m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_has_a_unit_and_a_bound() {
        assert_eq!(parse_delay("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_delay("10m"), Ok(LONGEST_DELAY));
        for wrong in ["", "2", "s", "1.5s", "-1s", "601s", "11m", "99999999999999999999m"] {
            assert!(parse_delay(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_challenge_is_answered_where_a_hub_asks_by_get() {
        let head = |method: Method, uri: &str| {
            Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0
        };
        let asked = "/cb?a=b&hub.mode=subscribe&hub.topic=t&hub.challenge=c%2Fd";
        assert_eq!(challenge(&head(Method::GET, asked)).as_deref(), Some("c/d"));
        assert_eq!(challenge(&head(Method::POST, asked)), None);
        assert_eq!(challenge(&head(Method::GET, "/cb?hub.mode=denied&hub.challenge=c")), None);
        assert_eq!(challenge(&head(Method::GET, "/cb")), None);
    }

    #[test]
    fn a_status_is_final() {
        assert_eq!(parse_status("410"), Ok(StatusCode::GONE));
        for wrong in ["100", "199", "600", "ok", ""] {
            assert!(parse_status(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value() {
        assert_eq!(parse_header("Retry-After: 3").unwrap().1, "3");
        for wrong in ["Retry-After", "a b: c", "Content-Length: 7", "a: \u{1}"] {
            assert!(parse_header(wrong).is_err(), "{wrong}");
        }
    }
}
