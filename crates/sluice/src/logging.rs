//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{cli::LogFormat, config::Config, server::Mode};

/// Starts logging. A panic becomes a log line too: it is a bug, and must not be lost on a terminal.
pub(crate) fn start(mode: &Mode, config: &Config) -> Result<(), String> {
    let default = match mode {
        Mode::Dev(_) => "warn",
        Mode::Run => "info",
    };
    let filter = filter(config.log_level.as_deref().unwrap_or(default))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match config.log_format {
        // Colours are for people who watch, not for files.
        LogFormat::Text => {
            registry.with(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false)).init();
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "A part of the gateway failed in a way that it never should; please report this.");
    }));
    Ok(())
}

/// What libraries may say unless they are named. What the engine of the embedded log does is no news. The clients of
/// brokers tell nothing that the drivers do not tell in words of their own, and some put payloads into it.
const LIBRARIES: &str =
    "fjall=warn,lsm_tree=warn,fe2o3_amqp=off,lapin=off,rumqttc=off,rustls_platform_verifier=off";

/// The filter as it is written, with libraries kept to what they may say.
fn filter(written: &str) -> Result<EnvFilter, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    // A word alone would be taken for the name of a part of the program, and silence everything else.
    let unknown = written.split(',').map(str::trim).find(|directive| {
        let word = !directive.contains(['=', ':', '[', '_']);
        word && !levels.contains(&directive.to_ascii_lowercase().as_str())
    });
    if let Some(unknown) = unknown {
        return Err(format!(
            "The log level '{unknown}' (--log-level, SLUICE_LOG_LEVEL, logLevel) is none of {}.",
            levels.join(", ")
        ));
    }
    EnvFilter::try_new(format!("{LIBRARIES},{written}"))
        .map_err(|error| format!("The log filter '{written}' is not understood: {error}."))
}
