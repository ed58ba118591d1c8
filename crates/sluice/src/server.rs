//! One run of the gateway: start in the right order, say so, wait for a signal, drain.

use std::{
    convert::Infallible,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use sluice_gateway::{Gateway, Listeners};
use sluice_management::{Auth, Registry};
use sluice_store::Store;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower::ServiceExt;
use tracing::{info, warn};

use crate::{
    admin::Admin, api_files::ApiFiles, brokers::Brokers, config::Config, dev, dev_broker::DevBroker,
    environment, ready_file::ReadyFile,
};

/// How the process was started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mode {
    /// With examples and a welcome on the terminal; on this broker where there is one.
    Dev(Option<DevBroker>),
    /// For work.
    Run,
}

impl Mode {
    pub(crate) const fn is_dev(&self) -> bool {
        matches!(self, Self::Dev(_))
    }
}

/// Runs until SIGTERM, SIGINT or SIGHUP; an error says why it could not start.
pub(crate) async fn run(mode: Mode, config: Config) -> Result<(), String> {
    let started = Instant::now();
    let mut stop = Signals::new()?;
    let server = Server::start(&mode, &config).await?;
    server.announce(&mode, &config, started.elapsed());

    let signal = stop.next().await;
    info!(signal, "Stopping: streams are told, requests in flight finish.");
    tokio::select! {
        () = server.drain(config.drain_timeout()) => info!("Stopped."),
        signal = stop.next() => warn!(signal, "Stopped at once, at the second signal."),
    }
    Ok(())
}

/// Everything that runs.
struct Server {
    gateway: Gateway,
    traffic: Listeners,
    administration: Listeners,
    /// What checks and counters are asked by.
    checks: Listeners,
    admin: Admin,
    gateway_addresses: Vec<SocketAddr>,
    management_addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    ready_file: Option<ReadyFile>,
    /// Keeps other processes out of the data directory.
    _lock: fs::File,
}

impl Server {
    async fn start(mode: &Mode, config: &Config) -> Result<Self, String> {
        let max_connections = allow_open_files(config);
        if let Some(path) = &config.ready_file {
            ReadyFile::clear(path).map_err(|error| format!("{}: {error}.", path.display()))?;
        }
        // Addresses first: whether they can be had is known at once, and nothing was touched if not.
        let (gateway_sockets, gateway_addresses) = bind(&config.gateway_listen, "--gateway-listen").await?;
        let (management_sockets, management_addresses) =
            bind(&config.management_listen, "--management-listen").await?;
        let (admin_sockets, admin_addresses) = bind(&config.admin_listen, "--admin-listen").await?;
        let lock = lock_data_dir(&config.data_dir)?;

        let environment = environment::load(config.dictionaries.clone(), config.secrets_dir.as_deref())?;
        let environment = Arc::new(environment);
        let options = config.management_options(Arc::clone(&environment));
        let store = Store::open(&config.data_dir).await.map_err(|error| error.to_string())?;
        let (positions, notes) = store.positions_and_notes();
        let gateway = Gateway::new(
            config.gateway_options(environment, mode.is_dev()),
            Box::new(Brokers::new(config)),
            Arc::new(positions),
            Arc::new(notes),
        );
        let registry =
            Registry::open_apis(store, gateway.clone()).await.map_err(|error| error.to_string())?;
        let admin = Admin::new(gateway.clone(), registry.clone());
        let checks = Listeners::new(config.listen_options(config.limits.max_management_connections));
        for socket in admin_sockets {
            let admin = admin.clone();
            checks.serve(socket, move |request, _| admin.clone().answer(request));
        }
        let built_in = match mode {
            Mode::Dev(broker) => dev::examples_on(broker.as_ref())?,
            Mode::Run => Vec::new(),
        };
        let files = ApiFiles::new(config.api.clone(), built_in, options.clone())?;
        files.deploy(&registry).await;

        let traffic = Listeners::new(config.listen_options(max_connections));
        for socket in gateway_sockets {
            let gateway = gateway.clone();
            traffic.serve(socket, move |request, ends| {
                let gateway = gateway.clone();
                async move { gateway.serve(request, ends).await }
            });
        }
        // Web clients are served by now.
        registry.open_subscriptions().await.map_err(|error| error.to_string())?;
        gateway.open_hub(registry.desk()).await.map_err(|error| error.to_string())?;

        let administration = Listeners::new(config.listen_options(config.limits.max_management_connections));
        let auth = Auth::new(config.admin_password.clone());
        let router = sluice_management::router(registry.clone(), auth, options);
        let timeout = config.request_timeout();
        for socket in management_sockets {
            let router = router.clone();
            administration.serve(socket, move |request, _| answer(router.clone(), request, timeout));
        }
        tokio::spawn(files.watch(registry));

        let write_ready_file =
            |path| ReadyFile::write(path, &gateway_addresses, &management_addresses, &admin_addresses);
        let ready_file = config.ready_file.as_deref().map(write_ready_file).transpose();
        let ready_file = ready_file.map_err(|error| format!("The ready file cannot be written: {error}."))?;
        admin.serves();
        Ok(Self {
            gateway,
            traffic,
            administration,
            checks,
            admin,
            gateway_addresses,
            management_addresses,
            admin_addresses,
            ready_file,
            _lock: lock,
        })
    }

    /// Tells the log, and with `dev` a person, what runs.
    fn announce(&self, mode: &Mode, config: &Config, took: Duration) {
        let (gateway, management) = (&self.gateway_addresses, &self.management_addresses);
        let admin = &self.admin_addresses;
        info!(?gateway, ?management, ?admin, took_ms = took.as_millis(), "Ready.");
        if std::env::var_os("gravitee_api_jupiterMode_enabled").is_some() {
            info!(
                "gravitee_api_jupiterMode_enabled is set; message APIs are always served here, so it changes \
                 nothing."
            );
        }
        if let Mode::Dev(broker) = mode {
            let default_password = config.admin_password.is_default();
            let broker = match broker {
                Some(broker) => broker.to_string(),
                None => format!("the embedded log in {}", config.data_dir.display()),
            };
            let welcome = dev::welcome(gateway, management, &broker, default_password, took);
            // Who has closed the terminal does not want to read it.
            let _written = std::io::stdout().write_all(welcome.as_bytes());
        }
    }

    /// Lets streams say goodbye and requests finish, all at the same time, each within the timeout.
    async fn drain(self, timeout: Duration) {
        drop(self.ready_file);
        self.admin.stops();
        let (done, _, ()) = tokio::join!(
            self.traffic.shut_down(timeout),
            self.administration.shut_down(timeout),
            self.gateway.shut_down()
        );
        // To the last moment: who asks is to be told that this process stops.
        self.checks.shut_down(CHECKS_END).await;
        if !done {
            warn!("Connections were still open after the drain timeout and are cut off.");
        }
    }
}

/// How long answers to checks may take at the end.
const CHECKS_END: Duration = Duration::from_secs(1);

/// Files that are open beside connections: logs, databases, brokers.
const OTHER_FILES: usize = 512;

/// Raises the limit on open files as far as it may be, since each connection is one. Returns how many gateway
/// connections there can be, so that a flood of them takes no file from brokers and administration.
fn allow_open_files(config: &Config) -> usize {
    let limits = &config.limits;
    let others = limits.max_management_connections + OTHER_FILES;
    let wanted = limits.max_connections + others;
    let allowed = match rlimit::increase_nofile_limit(wanted as u64) {
        Ok(allowed) => usize::try_from(allowed).unwrap_or(usize::MAX),
        Err(error) => {
            warn!(%error, "The limit on open files could not be read.");
            return limits.max_connections;
        }
    };
    if allowed >= wanted {
        return limits.max_connections;
    }
    let possible = allowed.saturating_sub(others).max(1);
    warn!(
        allowed,
        wanted,
        max_connections = possible,
        "This process may open fewer files than limits.maxConnections needs, and takes fewer connections; raise \
         the limit (ulimit -n) or lower the setting."
    );
    possible
}

/// Answers a management request, or gives it up when its body does not come.
async fn answer(
    router: axum::Router,
    request: Request<Incoming>,
    timeout: Duration,
) -> Result<Response<axum::body::Body>, Infallible> {
    let answered = tokio::time::timeout(timeout, router.oneshot(request)).await;
    answered.unwrap_or_else(|_| {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        Ok(response)
    })
}

/// Binds every address. The addresses really bound come back in the same order.
async fn bind(wanted: &[SocketAddr], flag: &str) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), String> {
    let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
    for address in wanted {
        let (socket, bound) = Listeners::bind(*address).await.map_err(|error| {
            format!("{flag} {address}: {error}. Choose another address, or stop what listens there.")
        })?;
        sockets.push(socket);
        addresses.push(bound);
    }
    Ok((sockets, addresses))
}

/// Makes the data directory and takes it for this process alone. The lock goes with the process, however
/// that ends.
fn lock_data_dir(path: &Path) -> Result<fs::File, String> {
    let fault = |reason: String| format!("The data directory {}: {reason}.", path.display());
    // For this user only: it holds messages, definitions and the key to their secrets.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| fault(format!("cannot be made: {error}")))?;
    let file =
        fs::File::create(path.join("lock")).map_err(|error| fault(format!("cannot be written: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(fault("is in use by another process; choose another with --data-dir".to_owned()))
        }
        Err(fs::TryLockError::Error(error)) => Err(fault(format!("cannot be locked: {error}"))),
    }
}

/// The signals that ask for an end.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// The terminal was closed.
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("Signals cannot be received: {error}."));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
