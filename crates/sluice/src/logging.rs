//! Log lines on standard error, as text or JSON.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{cli::LogFormat, config::Config, server::Mode};

/// Starts logging. A panic becomes a log line too: it is a bug, and must not be lost on a terminal.
pub(crate) fn start(mode: Mode, config: &Config) -> Result<(), String> {
    let default = match mode {
        Mode::Dev => "warn",
        Mode::Run => "info",
    };
    let filter = config.log_level.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("The log level '{filter}' is not understood: {error}."))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match config.log_format {
        LogFormat::Text => registry.with(lines.with_target(false)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "A part of the gateway failed in a way that it never should; please report this.");
    }));
    Ok(())
}
